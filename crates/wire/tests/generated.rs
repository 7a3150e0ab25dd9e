//! The committed code and descriptors are what the `.proto` files say. Run with `COUNTERSIGN_REWRITE_GENERATED=1` to
//! write them anew: after changing a `.proto` file and before changing the code that uses it, as the crate has to
//! compile for this to run. Neither the build nor this test needs protoc.

use std::path::{Path, PathBuf};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const FILES: [&str; 9] = ["request", "failure", "keys", "records", "pipe", "trail", "authority", "log", "watch"];

#[test]
fn the_generated_code_is_what_the_proto_files_say() {
    let files: Vec<PathBuf> = FILES.iter().map(|name| here(&format!("proto/countersign/v1/{name}.proto"))).collect();
    let mut descriptors = protox::compile(files, [here("proto")]).expect("the proto files compile");
    let written = tempfile::tempdir().unwrap();
    let with_comments = descriptors.clone();
    // What the reflection service serves needs no comments.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let binary = prost::Message::encode_to_vec(&descriptors);
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .out_dir(written.path())
        .bytes(".countersign.v1.Call.request")
        .bytes(".countersign.v1.ControlRequest.request")
        .bytes(".countersign.v1.FactsMessage.index")
        .bytes(".countersign.v1.FactsPart.content")
        .codec_path("crate::codec::Bounded")
        .skip_debug(["."])
        .build_client(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(with_comments, config)
        .expect("code is generated");
    let code = std::fs::read(written.path().join("countersign.v1.rs")).unwrap();
    let rewrite = std::env::var_os("COUNTERSIGN_REWRITE_GENERATED").is_some();
    for (name, fresh) in [("countersign.v1.rs", code), ("descriptors.bin", binary)] {
        let committed = here("src/generated").join(name);
        if rewrite {
            std::fs::write(&committed, &fresh).unwrap();
        }
        let same = std::fs::read(&committed).is_ok_and(|committed| committed == fresh);
        assert!(same, "{name} is out of date; run this test with COUNTERSIGN_REWRITE_GENERATED=1");
    }
}
