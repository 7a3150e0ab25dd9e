//! libFuzzer's entry for the target `wire_request`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(wire_request);
