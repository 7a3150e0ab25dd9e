//! libFuzzer's entry for the target `snapshot`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(snapshot);
