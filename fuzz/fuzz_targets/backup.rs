//! libFuzzer's entry for the target `backup`.
#![cfg_attr(fuzzing, no_main)]

countersign_fuzz::entry!(backup);
