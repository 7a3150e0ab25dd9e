//! `countersign audit prove`: a request's records with proofs that anybody can check.

use std::path::PathBuf;

use clap::Args;
use countersign_model::RequestId;
use serde_json::Value;

use crate::cli::context::{Context, Unnamed, identifier};
use crate::problem::{Exit, Problem, io};

#[derive(Debug, Args)]
pub(in crate::cli) struct Prove {
    /// The request's id.
    #[arg(value_name = "REQUEST-ID", value_parser = identifier::<RequestId>)]
    request: RequestId,
    /// Where to write the proof; standard output if no file is named.
    #[arg(long = "out", short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, asked: Prove) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let proof = client.get(&format!("/v1/audit/proof/{}", asked.request)).await?;
    let records = proof.get("records").and_then(Value::as_array).map(Vec::len).unwrap_or_default();
    if records == 0 {
        return Err(Problem::new(Exit::NotFound, format!("no service has a record of request {}", asked.request)));
    }
    let text = serde_json::to_string_pretty(&proof).map_err(|_| Problem::failed("the proof can't be written"))?;
    let Some(file) = &asked.out else { return context.terminal.line(&text) };
    std::fs::write(file, format!("{text}\n")).map_err(io("write the proof to", file))?;
    let s = if records == 1 { "" } else { "s" };
    context
        .terminal
        .note(&format!("{records} record{s} with proofs; check with: countersign audit check {}", file.display()));
    Ok(())
}
