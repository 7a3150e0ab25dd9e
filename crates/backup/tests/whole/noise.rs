//! Without keys every byte is noise.

use std::sync::Arc;

use countersign_backup::*;

use crate::setting::*;

/// How far bytes are from being evenly spread: Pearson's chi-square over 255 degrees of freedom, whose mean is 255 and whose
/// standard deviation is 22.6.
fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0f64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let expected = bytes.len() as f64 / 256.0;
    counts.iter().map(|count| (count - expected).powi(2) / expected).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let secret = b"Salamander Industries, 1 Infinite Loop";
    let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    for section in [Section::Control, Section::Tenant(tenant(1)), Section::Ledger("authority".into())] {
        writer.section(section).await.unwrap();
        for number in 0..4u8 {
            // As even as can be: what is sealed shows nothing of that.
            let chunk = [&[number; 64][..], &secret.repeat(4_000)].concat();
            writer.chunk(chunk).await.unwrap();
        }
        writer.note(secret.repeat(100)).unwrap();
    }
    writer.finish(secret.repeat(2_000)).await.unwrap();
    repository.keep_receipt([1; 16], &secret.repeat(100)).await.unwrap();
    let mut sealed = 0;
    for path in files(folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        for needle in [&secret[..12], tenant(1).as_bytes(), b"authority", b"Salamander"] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{path:?}");
        }
        if bytes.len() > 20_000 {
            // What stands before it in the clear: versions, ids, a nonce.
            let chi_square = chi_square(&bytes[96..]);
            assert!((120.0..400.0).contains(&chi_square), "{path:?}: {chi_square}");
            sealed += 1;
        }
        // The same bytes are nowhere twice.
        let mut blocks: Vec<&[u8]> = bytes.chunks_exact(16).skip(6).collect();
        let count = blocks.len();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), count, "{path:?}");
    }
    assert_eq!(sealed, 13, "twelve chunks and a manifest");
}

/// The same content of two tenants, or of one under two keys, or in two repositories, has nothing in common.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_tell_nothing() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut names = Vec::new();
    for folder in &folders {
        let repository = repository(folder.path()).await;
        for epoch in [1, 2] {
            let keys = Arc::new(Keys { epoch, ..Keys::default() });
            let sections = [Section::Tenant(tenant(1)), Section::Tenant(tenant(2)), Section::File("a".into())];
            let parts = sections.map(|section| (section, vec![vec![5; 1000]]));
            let finished = write(&repository, keys, &parts.to_vec()).await.unwrap();
            names.extend(finished.manifest.sections.iter().flat_map(|one| &one.chunks).map(|chunk| chunk.name));
        }
    }
    assert_eq!(names.len(), 12);
    names.sort_unstable();
    names.dedup();
    // The file is under the backup key alone, and so has the same name in both backups of a repository.
    assert_eq!(names.len(), 10);
}
