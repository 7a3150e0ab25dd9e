//! libFuzzer's entry for the target `body`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(body);
