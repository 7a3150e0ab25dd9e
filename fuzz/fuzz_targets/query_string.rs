//! libFuzzer's entry for the target `query_string`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(query_string);
