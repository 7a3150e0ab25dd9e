//! libFuzzer's entry for the target `certificate_request`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(certificate_request);
