//! libFuzzer's entry for the target `token`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(token);
