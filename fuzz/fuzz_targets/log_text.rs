//! libFuzzer's entry for the target `log_text`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(log_text);
