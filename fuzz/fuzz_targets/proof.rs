//! libFuzzer's entry for the target `proof`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(proof);
