//! libFuzzer's entry for the target `csv_row`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(csv_row);
