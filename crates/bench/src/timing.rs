//! Timing small operations: many in a batch, several batches, the median batch.

use std::time::{Duration, Instant};

/// How many batches; the median of them is the figure, so that a neighbour's burst does not count.
const BATCHES: usize = 15;

/// Microseconds for one `operation`, in batches that take about `total` in all.
pub fn micros_each(total: Duration, mut operation: impl FnMut()) -> f64 {
    let per_batch = total / u32::try_from(BATCHES).unwrap_or(u32::MAX);
    let mut count: u32 = 1;
    loop {
        let began = Instant::now();
        for _ in 0..count {
            operation();
        }
        let took = began.elapsed();
        if took * 4 >= per_batch {
            let scale = per_batch.as_secs_f64() / took.as_secs_f64().max(1e-9);
            count = ((f64::from(count) * scale) as u32).max(1);
            break;
        }
        count = count.saturating_mul(2);
    }
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..count {
                operation();
            }
            began.elapsed().as_secs_f64() * 1e6 / f64::from(count)
        })
        .collect();
    median(&mut batches)
}

/// The middle one.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time that a process has used until now, in seconds; zero where the system doesn't say.
pub fn processor_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name in parentheses: state is the first field, user and system time the 12th and 13th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}
