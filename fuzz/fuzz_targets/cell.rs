//! libFuzzer's entry for the target `cell`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(cell);
