//! SIGKILL under write load, again and again: every acknowledged write is there, none is there by half, and each has
//! its audit record.

pub mod check;
pub mod writer;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_testkit::Server;

use crate::demo;
use writer::{Random, Writer};

/// How often the server is killed.
const KILLS: u32 = 32;
/// Clients that write at once.
const WRITERS: usize = 4;

#[test]
#[ignore = "takes minutes; `cargo xtask test --only crash` runs it"]
fn what_was_acknowledged_survives_sigkill() -> Result<()> {
    let seed = std::env::var_os("COUNTERSIGN_CRASH_SEED").and_then(|seed| seed.to_str()?.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let (deployment, server) = demo()?;
    let token = deployment.login("andrew@northwind")?;
    let auditor = deployment.login("robert@northwind")?;
    server.stop()?;

    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
    let mut trail = check::Trail::default();
    let mut slowest_start = Duration::ZERO;
    for kill in 1..=KILLS {
        let began = Instant::now();
        let server = deployment.serve().with_context(|| format!("start after kill {}", kill - 1))?;
        slowest_start = slowest_start.max(began.elapsed());
        verify(&server, &token, &auditor, &mut writers, &mut trail)
            .with_context(|| format!("after kill {}", kill - 1))?;
        let lives = Duration::from_millis(20 + random.below(400));
        let clients = (0..WRITERS).map(|_| Ok(server.client()?.with_token(&token))).collect::<Result<Vec<_>>>()?;
        let threads: Vec<_> = writers
            .drain(..)
            .zip(clients)
            .map(|(mut writer, client)| std::thread::spawn(move || writer.run(&client).map(|()| writer)))
            .collect();
        std::thread::sleep(lives);
        server.kill()?;
        for thread in threads {
            let writer = thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
            writers.push(writer.with_context(|| format!("before kill {kill}"))?);
        }
    }
    let server = deployment.serve()?;
    verify(&server, &token, &auditor, &mut writers, &mut trail).context("after the last kill")?;
    server.stop()?;

    let sum = |figure: fn(&Writer) -> u64| writers.iter().map(figure).sum::<u64>();
    println!(
        "{KILLS} kills, {} acknowledged writes ({} inserts, {} bulk inserts, {} updates, {} deletes), all there with \
         their audit records; {} writes cut off: {} whole, {} absent, none by half; {} audit records read; slowest \
         start {:.1} s",
        sum(|w| w.acknowledged),
        sum(|w| w.inserts),
        sum(|w| w.bulk_inserts),
        sum(|w| w.updates),
        sum(|w| w.deletes),
        sum(|w| w.found_whole + w.found_absent),
        sum(|w| w.found_whole),
        sum(|w| w.found_absent),
        trail.read,
        slowest_start.as_secs_f64(),
    );
    anyhow::ensure!(sum(|w| w.acknowledged) > u64::from(KILLS) * 10, "too little load to mean anything");
    Ok(())
}

fn verify(server: &Server, token: &str, auditor: &str, writers: &mut [Writer], trail: &mut check::Trail) -> Result<()> {
    let client = server.client()?.with_token(token);
    for writer in writers.iter_mut() {
        check::records(&client, writer)?;
    }
    check::audit(&server.client()?.with_token(auditor), writers, trail)
}
