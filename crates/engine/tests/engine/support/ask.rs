//! Requests, put together in a line each, and what answers say.

use countersign_engine::Answer;
use countersign_guard::Bearer;
use countersign_model::request::{
    Delete, Filter, Input, Insert, Literal, OnConflict, Operation, Operator, Order, Read, Select, Update,
};
use countersign_model::row::{Cell, Row};
use countersign_model::{Request, Service};
use countersign_services::Call;

/// What a service is called with.
pub fn call<'a>(bearer: &'a Bearer, request: &'a Request) -> Call<'a> {
    let deadline = tokio::time::Instant::now() + countersign_guard::REQUEST_TIME;
    Call { bearer, request, epoch: 1, caller: Service::Gateway, deadline }
}

pub fn row(values: &[(&str, &str)]) -> Vec<(String, Input)> {
    values.iter().map(|(field, json)| ((*field).to_owned(), Input::Json((*json).to_owned()))).collect()
}

pub fn select(fields: &[&str]) -> Vec<Select> {
    fields.iter().map(|field| Select::Field { field: (*field).to_owned(), alias: None }).collect()
}

pub fn read(record_type: &str, fields: &[&str]) -> Read {
    Read { record_type: record_type.to_owned(), select: select(fields), ..Read::default() }
}

pub fn test(field: &str, operator: Operator, literal: &str) -> Filter {
    Filter::Test { field: field.to_owned(), operator, literal: Literal::One(literal.to_owned()) }
}

pub fn eq(field: &str, literal: &str) -> Filter {
    test(field, Operator::Eq, literal)
}

pub fn order(field: &str) -> Order {
    Order { field: field.to_owned(), descending: false, nulls_first: None }
}

pub fn insert(record_type: &str, rows: Vec<Vec<(String, Input)>>) -> Operation {
    Operation::Insert(Insert { record_type: record_type.to_owned(), rows, on_conflict: None, returning: None })
}

pub fn upsert(record_type: &str, rows: Vec<Vec<(String, Input)>>, merge: bool) -> Operation {
    let on_conflict = Some(OnConflict { field: None, merge });
    Operation::Insert(Insert { record_type: record_type.to_owned(), rows, on_conflict, returning: None })
}

pub fn update(record_type: &str, set: &[(&str, &str)], filter: Filter) -> Operation {
    let record_type = record_type.to_owned();
    Operation::Update(Update { record_type, set: row(set), filter, max_affected: None, returning: None })
}

pub fn delete(record_type: &str, filter: Filter) -> Operation {
    let record_type = record_type.to_owned();
    Operation::Delete(Delete { record_type, filter, max_affected: None, returning: None })
}

/// A row's cells as text.
pub fn texts(row: &Row) -> Vec<String> {
    let text = |cell: &Cell| match cell {
        Cell::Value(value) => value.to_text().unwrap_or_else(|| "null".to_owned()),
        Cell::One(row) => row.as_ref().map_or("none".to_owned(), |row| format!("({})", texts(row).join(","))),
        Cell::Many(rows) => format!("[{}]", rows.iter().map(|row| texts(row).join(",")).collect::<Vec<_>>().join(";")),
    };
    row.cells.iter().map(text).collect()
}

pub fn all_texts(answer: &Answer) -> Vec<String> {
    answer.rows.rows.iter().map(|row| texts(row).join("|")).collect()
}
