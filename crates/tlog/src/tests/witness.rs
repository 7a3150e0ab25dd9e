use super::{leaves, levels, log_signer};
use crate::*;

const ORIGIN: &str = "data.example/log/store/first";

fn request(log: &Levels, old_size: u64, size: u64) -> AddCheckpoint {
    let checkpoint = Checkpoint::new(ORIGIN, size, root(log, size).unwrap()).sign(&log_signer(ORIGIN, 1));
    AddCheckpoint { old_size, proof: consistency(log, old_size, size).unwrap(), checkpoint }
}

#[test]
fn a_witness_follows_growth_and_nothing_else() {
    let (log, fork) = (levels(1, 100), levels(2, 100));
    let key = log_signer(ORIGIN, 1).verifier();
    let mut seen = Seen::nothing();
    for (old, size) in [(0, 0), (0, 5), (5, 5), (5, 64), (64, 100)] {
        let (checkpoint, _) = consider(&seen, &request(&log, old, size), &key).unwrap();
        seen = Seen::from(&checkpoint);
        assert_eq!(seen.size, size);
    }
    let at_64 = Seen { size: 64, root: root(&log, 64).unwrap() };
    let refused = |asked: &AddCheckpoint| consider(&at_64, asked, &key).unwrap_err();
    // A rollback, however it is put.
    assert_eq!(refused(&request(&log, 5, 5)), Refusal::Conflict { size: 64 });
    let mut back = request(&log, 5, 5);
    back.old_size = 64;
    assert_eq!(refused(&back), Refusal::Smaller);
    // A fork: of the same size, and grown on.
    assert_eq!(refused(&request(&fork, 64, 64)), Refusal::Inconsistent);
    assert_eq!(refused(&request(&fork, 64, 100)), Refusal::Inconsistent);
    assert_eq!(refused(&AddCheckpoint { proof: Vec::new(), ..request(&log, 64, 100) }), Refusal::Inconsistent);
    assert_eq!(refused(&request(&log, 63, 100)), Refusal::Conflict { size: 64 });
    // Another key, another log, no checkpoint.
    let other = Checkpoint::new(ORIGIN, 100, root(&log, 100).unwrap()).sign(&log_signer(ORIGIN, 2));
    assert_eq!(refused(&AddCheckpoint { checkpoint: other, ..request(&log, 64, 100) }), Refusal::NotSigned);
    // A first sight with a proof, and an empty tree with a root.
    let mut first = request(&log, 0, 5);
    first.proof.push(Hash::empty());
    assert_eq!(consider(&Seen::nothing(), &first, &key).unwrap_err(), Refusal::Inconsistent);
    let empty = Checkpoint::new(ORIGIN, 0, Hash::leaf(b"x")).sign(&log_signer(ORIGIN, 1));
    let asked = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint: empty };
    assert_eq!(consider(&Seen::nothing(), &asked, &key).unwrap_err(), Refusal::Inconsistent);
    let status = [Refusal::Smaller, Refusal::NotSigned, Refusal::Conflict { size: 1 }, Refusal::Inconsistent];
    assert_eq!(status.map(Refusal::status), [400, 403, 409, 422]);
}

/// The example of C2SP tlog-witness.
#[test]
fn the_published_request() {
    let text = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let asked = AddCheckpoint::from_text(text).unwrap();
    assert_eq!((asked.old_size, asked.proof.len()), (20_852_014, 4));
    assert_eq!(asked.to_text(), text);
    assert_eq!(Checkpoint::unverified(&asked.checkpoint).unwrap().size, 20_852_163);
    let answer = "\u{2014} witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n";
    assert_eq!(signature_lines(answer).unwrap().len(), 1);
    for bad in [
        text.replacen("old ", "", 1),
        text.replacen("old 2", "old 02", 1),
        text.replacen("old ", "old  ", 1),
        text.replacen("PlRN", "PlR", 1),
        text.replacen("\n\n", "\n", 1),
        text.trim_end().to_owned(),
        text.replacen("Kj/0=\n", &format!("Kj/0=\n{}", "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n".repeat(60)), 1),
    ] {
        assert_eq!(AddCheckpoint::from_text(&bad), Err(RequestError), "{bad:?}");
    }
}

#[test]
fn a_proof_stands_for_itself() {
    let log = levels(1, 100);
    let signer = log_signer(ORIGIN, 1);
    let checkpoint = Checkpoint::new(ORIGIN, 100, root(&log, 100).unwrap()).sign(&signer);
    for index in [0u64, 42, 99] {
        let entry = [&[1], &index.to_be_bytes()[..]].concat();
        assert_eq!(Hash::leaf(&entry), leaves(1, 100)[index as usize]);
        let path = inclusion(&log, index, 100).unwrap();
        let extra = (index == 42).then(|| b"said besides".to_vec());
        let proof = LogProof { extra, index, path, checkpoint: checkpoint.clone() };
        let read = LogProof::from_text(&proof.to_text()).unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(&entry, &signer.verifier()).unwrap().0.size, 100);
        let wrong = ProofTextError::Proof(ProofError::Mismatch);
        assert_eq!(read.verify(b"another entry", &signer.verifier()).unwrap_err(), wrong);
        assert!(read.verify(&entry, &log_signer(ORIGIN, 2).verifier()).is_err());
        let text = proof.to_text();
        for bad in [
            text.replacen("@v1", "@v2", 1),
            text.replacen("index ", "index 0", 1),
            text.replacen("index ", "", 1),
            text.replacen("\n\n", "\n", 1),
            format!("x{text}"),
            text.trim_end().to_owned(),
        ] {
            let refused = LogProof::from_text(&bad);
            // "index 0" and zero make a number only with no digit after it.
            assert!(refused.is_err(), "{bad:?}");
        }
    }
}
