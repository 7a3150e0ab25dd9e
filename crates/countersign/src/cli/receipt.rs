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
    let mut fields: Vec<(&str, &str)> =
        receipt.services.iter().flat_map(|view| &view.opened).flat_map(of_each).collect();
    fields.sort_unstable();
    fields.dedup();
    for (record_type, field) in fields {
        row(&format!("{record_type}.{field}"), &|view| rows(&view.opened, record_type, field));
    }
    row("records changed", &|view| {
        Some(view.written).filter(|written| *written != 0).map(|written| written.to_string()).unwrap_or_default()
    });
    row("in its ledger", &|view| joined(view.steps.iter().map(|step| format!("#{}", step.position))));
    table
}

fn verdict(step: &Step) -> String {
    match step.reason {
        Some(reason) => format!("{} ({})", step.verdict.as_str(), reason.as_str()),
        None => step.verdict.as_str().to_owned(),
    }
}

/// The fields that were opened together, each with its type.
fn of_each(opened: &OpenedView) -> impl Iterator<Item = (&str, &str)> {
    opened.fields.iter().map(|field| (opened.record_type.as_str(), field.as_str()))
}

/// Of how many rows a field was opened.
fn rows(opened: &[OpenedView], record_type: &str, field: &str) -> String {
    let of_field = opened.iter().filter(|one| of_each(one).any(|each| each == (record_type, field)));
    match of_field.map(|one| one.rows).fold(0, u64::saturating_add) {
        0 => String::new(),
        1 => "1 row".to_owned(),
        more => format!("{more} rows"),
    }
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
        assert!(lines[0].starts_with("                  gateway"), "{text}");
        assert!(lines[1].contains("intent; released") && lines[1].ends_with("  released"), "{text}");
        let company = lines.iter().find(|line| line.starts_with("customer.company ")).unwrap();
        assert!(company.contains(" 1 row ") && company.ends_with(" 2 rows"), "{text}");
        assert!(!text.contains("changed"), "{text}");
    }
}
