//! What deciding costs: a token and a plan that are known, and ones that are not.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use countersign_guard::Bearer;

use crate::Options;
use crate::report::{Report, Row, Target};
use crate::setting::{Setting, point_read};
use crate::timing::{median, micros_each};

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let total = Duration::from_millis(if options.quick { 100 } else { 2000 });
    for policies in [10, 1000] {
        let setting = Setting::new(policies)?;
        let request = point_read();
        let bearer = Bearer::new(setting.token()?);
        setting.guard.judge(&bearer, &request).map_err(|refusal| anyhow!("refused: {refusal}"))?;
        let warm = micros_each(total, || {
            let _ = black_box(setting.guard.judge(black_box(&bearer), black_box(&request)));
        });
        let rounds = if options.quick { 5 } else { 100 };
        let once = |bearer: &Bearer| {
            let began = Instant::now();
            let judged = setting.guard.judge(bearer, &request);
            let took = began.elapsed().as_secs_f64() * 1e6;
            judged.map_err(|refusal| anyhow!("refused: {refusal}")).map(|_| took)
        };
        let (mut new_token, mut new_plan) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            new_token.push(once(&Bearer::new(setting.token()?))?);
            setting.change_policies();
            new_plan.push(once(&bearer)?);
        }
        report.add(Row {
            name: format!("guard, warm, {policies} policies"),
            figure: warm,
            unit: "µs",
            limit: None,
            target: Target::Under(5.0),
            note: "verify, decide and resolve a point read".into(),
        });
        report.add(Row {
            name: format!("guard, new token, {policies} policies"),
            figure: median(&mut new_token),
            unit: "µs",
            limit: None,
            target: Target::Unset,
            note: "the first request with a token: its signature is verified".into(),
        });
        report.add(Row {
            name: format!("guard, cold, {policies} policies"),
            figure: median(&mut new_plan),
            unit: "µs",
            limit: None,
            target: Target::Unset,
            note: "the first request after a change of policies: its plan is made".into(),
        });
    }
    Ok(())
}
