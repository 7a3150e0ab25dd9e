//! `countersign audit receipt`: what each service recorded of one request, side by side.

use countersign_audit::receipt::{OpenedView, ReceiptView, ServiceView, Step};
use countersign_model::RequestId;
use serde_json::Value;

use super::context::{Context, Unnamed};
use crate::problem::{Exit, Problem};
use crate::table::{Output, Table};

pub(super) async fn run(context: &Context, request: RequestId) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let answer = client.get(&format!("/v1/audit/receipt/{request}")).await?;
    let receipt: ReceiptView =
        serde_json::from_value(answer.clone()).map_err(|_| Problem::failed("the server's answer is not a receipt"))?;
    if receipt.services.is_empty() {
        return Err(Problem::new(Exit::NotFound, format!("no service has a record of request {request}")));
    }
    match context.output() {
        Output::Json => context.terminal.line(&answer.to_string())?,
        output => side_by_side(&receipt).write(&context.terminal, output)?,
    }
    if receipt.agree {
        context.terminal.note("the services agree");
        return Ok(());
    }
    let wrong: Vec<String> = receipt.wrong.iter().map(ToString::to_string).collect();
    Err(Problem::failed(format!("the services do not agree: {}", wrong.join("; ")))
        .next("ask the operator: somebody made, changed or dropped a record"))
}

/// One column a service, one row for each thing that they should agree on.
fn side_by_side(receipt: &ReceiptView) -> Table {
    let columns: Vec<&str> = receipt.services.iter().map(|view| view.service.as_str()).collect();
    let mut table = Table::new(&[&[""], columns.as_slice()].concat());
    let mut row = |name: &str, cell: &dyn Fn(&ServiceView) -> String| {
        let cells: Vec<Value> = receipt.services.iter().map(|view| cell(view).into()).collect();
        if cells.iter().any(|cell| cell != "") {
            table.push([vec![name.into()], cells].concat());
        }
    };
    row("verdict", &|view| joined(view.steps.iter().map(verdict)));
    row("token", &|view| view.token.map(|token| token.to_string()).unwrap_or_default());
    row("epoch", &|view| view.epoch.to_string());
    let mut types: Vec<&str> = receipt.services.iter().flat_map(|view| &view.opened).map(of_type).collect();
    types.sort_unstable();
    types.dedup();
    for name in types {
        row(&format!("opened of {name}"), &|view| {
            joined(view.opened.iter().filter(|opened| of_type(opened) == name).map(opened))
        });
    }
    row("changed", &|view| view.written.to_string());
    row("record", &|view| joined(view.steps.iter().map(|step| format!("#{}", step.position))));
    table
}

fn verdict(step: &Step) -> String {
    match step.reason {
        Some(reason) => format!("{} ({})", step.verdict.as_str(), reason.as_str()),
        None => step.verdict.as_str().to_owned(),
    }
}

const fn of_type(opened: &OpenedView) -> &str {
    opened.record_type.as_str()
}

fn opened(opened: &OpenedView) -> String {
    let rows = if opened.rows == 1 { "row" } else { "rows" };
    format!("{} {rows}: {}", opened.rows, opened.fields.join(", "))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_stand_side_by_side() {
        let token = "0190b6c2-3f5e-7abc-8def-0123456789ab";
        let step = |verdict: &str, position: u64| {
            serde_json::json!({
            "position": position, "time": 1_700_000_000_000_u64, "verdict": verdict, "reason": null })
        };
        let view = |service: &str, steps: Vec<Value>, rows: u64| {
            serde_json::json!({
            "service": service, "steps": steps, "token": token, "epoch": 4, "written": 0,
            "opened": [{ "record_type": "customer", "fields": ["company", "country"], "rows": rows }] })
        };
        let receipt: ReceiptView = serde_json::from_value(serde_json::json!({
            "request": token, "agree": false,
            "services": [
                view("gateway", vec![step("intent", 7), step("released", 8)], 1),
                view("keys", vec![step("intent", 1), step("released", 2)], 1),
                view("store", vec![step("released", 3)], 2),
            ],
            "wrong": [{ "differs": { "part": "rows", "odd": "store" } }],
        }))
        .unwrap();
        let text = side_by_side(&receipt).render(None, str::to_owned);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("                    gateway"), "{text}");
        assert!(lines[1].contains("intent; released") && lines[1].ends_with("  released"), "{text}");
        let opened = lines.iter().find(|line| line.starts_with("opened of customer")).unwrap();
        assert!(opened.contains("1 row: company, country") && opened.ends_with("2 rows: company, country"), "{text}");
    }
}
