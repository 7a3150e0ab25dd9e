//! Runs fuzz targets without coverage: every file of the corpus, then inputs made of them until time is up.
//!
//! `mutate [TARGET…] [--seconds N] [--seed N]`. An input that breaks a property is written to
//! `target/fuzz/TARGET/`, smaller if a smaller one breaks it too, and the command fails.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_fuzz::mutator::{Random, mutate};
use countersign_fuzz::{TARGETS, Target, find};

/// Every input must be taken within this time, in a build without optimisation on a busy machine.
const LONGEST_RUN: Duration = Duration::from_secs(2);
/// Inputs that are kept because they were taken in a new way.
const POOL_MAX: usize = 5000;

/// What the last panic said.
static SAID: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let (mut targets, mut seconds, mut seed) = (Vec::new(), 10u64, 1u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> { Ok(arguments.next().context("a number is missing")?.parse()?) };
        match argument.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            name => targets.push(find(name).with_context(|| format!("no target {name:?}"))?),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut said) = SAID.lock() {
            *said = info.to_string();
        }
    }));
    let mut broken = 0u32;
    for target in targets {
        if let Err(error) = fuzz(target, Duration::from_secs(seconds), seed) {
            println!("{:<12} BROKEN: {error:#}", target.name);
            broken = broken.saturating_add(1);
        }
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fuzz(target: &Target, time: Duration, seed: u64) -> Result<()> {
    let corpus = corpus(target)?;
    let mut taken = HashSet::new();
    let mut pool: Vec<Vec<u8>> = Vec::new();
    for (file, input) in &corpus {
        let signature = attempt(target, input).with_context(|| format!("{}", file.display()))?;
        taken.insert(signature);
        pool.push(input.clone());
    }
    let mut random = Random::new(seed);
    let began = Instant::now();
    let (mut runs, mut slowest) = (0u64, Duration::ZERO);
    while began.elapsed() < time {
        let (one, other) = (random.below(pool.len()), random.below(pool.len()));
        let none = Vec::new();
        let input = mutate(&mut random, pool.get(one).unwrap_or(&none), pool.get(other).unwrap_or(&none), target.words);
        let start = Instant::now();
        match attempt(target, &input) {
            Ok(signature) => {
                if taken.insert(signature) && pool.len() < POOL_MAX {
                    pool.push(input);
                }
            }
            Err(error) => return Err(error.context(format!("kept as {}", keep(target, input)?.display()))),
        }
        slowest = slowest.max(start.elapsed());
        runs = runs.saturating_add(1);
    }
    println!(
        "{:<12} {} seeds, {runs} runs, {} ways taken, slowest {:.1} ms",
        target.name,
        corpus.len(),
        taken.len(),
        slowest.as_secs_f64() * 1000.0
    );
    Ok(())
}

fn attempt(target: &Target, input: &[u8]) -> Result<u64> {
    let mut quickest = Duration::MAX;
    // Slow twice is slow: once may be a neighbour on the machine.
    for _ in 0..2 {
        let start = Instant::now();
        let signature = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        quickest = quickest.min(start.elapsed());
        let said = || SAID.lock().map(|said| said.clone()).unwrap_or_default();
        let signature = signature.map_err(|_| anyhow::anyhow!("{}", said()))?;
        if quickest <= LONGEST_RUN {
            return Ok(signature);
        }
    }
    bail!("took {quickest:?}");
}

/// Leaves out what the failure does not need, for a moment, and writes the rest to a file.
fn keep(target: &Target, mut input: Vec<u8>) -> Result<PathBuf> {
    let until = Instant::now().checked_add(Duration::from_secs(5)).context("no such moment")?;
    let mut piece = input.len() / 2;
    while piece > 0 && Instant::now() < until {
        let mut at = 0;
        while at < input.len() {
            let mut smaller = input.clone();
            smaller.drain(at..at.saturating_add(piece).min(input.len()));
            if attempt(target, &smaller).is_err() {
                input = smaller;
            } else {
                at = at.saturating_add(piece);
            }
        }
        piece /= 2;
    }
    let folder = root().join("target/fuzz").join(target.name);
    std::fs::create_dir_all(&folder)?;
    let name = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let file = folder.join(format!("broken-{name:016x}"));
    std::fs::write(&file, input)?;
    Ok(file)
}

fn corpus(target: &Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = root().join("fuzz/corpus").join(target.name);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        files.push((path.clone(), std::fs::read(path)?));
    }
    files.sort();
    if files.is_empty() {
        bail!("{} is empty", folder.display());
    }
    Ok(files)
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
