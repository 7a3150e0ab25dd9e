//! libFuzzer's entry for the target `identity_token`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(identity_token);
