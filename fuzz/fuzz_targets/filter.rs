//! libFuzzer's entry for the target `filter`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(filter);
