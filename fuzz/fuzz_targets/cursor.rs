//! libFuzzer's entry for the target `cursor`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(cursor);
