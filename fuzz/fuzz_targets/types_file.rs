//! libFuzzer's entry for the target `types_file`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(types_file);
