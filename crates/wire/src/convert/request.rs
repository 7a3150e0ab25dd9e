//! [`Request`] and all inside it.

use countersign_model::request::{
    After, Delete, Door, Embed, Filter, History, Input, InputRow, Insert, Literal, OnConflict, Operation, Operator,
    Order, Read, Request, Select, Update,
};
use countersign_model::{RecordId, RequestId};

use super::{Malformed, sixteen};
use crate::pb;
use crate::pb::filter::Condition;
use crate::pb::named_input::Input as InputPart;
use crate::pb::request::Operation as OperationPart;
use crate::pb::select::Part;
use crate::pb::test::Literal as LiteralPart;

/// How deep filters and embeds may nest, counted together.
pub const NESTING_MAX: usize = 32;

/// A request as a message.
///
/// # Errors
/// [`Malformed`] if it nests deeper than [`NESTING_MAX`]: the other side would refuse it.
pub(crate) fn request_out(request: &Request) -> Result<pb::Request, Malformed> {
    let operation = match &request.operation {
        Operation::Read(read) => OperationPart::Read(read_out(read, NESTING_MAX)?),
        Operation::Insert(insert) => OperationPart::Insert(insert_out(insert)?),
        Operation::Update(update) => OperationPart::Update(update_out(update)?),
        Operation::Delete(delete) => OperationPart::Delete(delete_out(delete)?),
        Operation::History(History { record_type, key, select, limit }) => OperationPart::History(pb::History {
            record_type: record_type.clone(),
            key: key.clone(),
            fields: select.clone(),
            limit: *limit,
        }),
        Operation::Control(control) => OperationPart::Control(serde_json::to_vec(control).map_err(|_| Malformed)?),
    };
    let door = match request.door {
        Door::Http => pb::Door::Http,
        Door::Sql => pb::Door::Sql,
        Door::Mcp => pb::Door::Mcp,
    };
    Ok(pb::Request {
        id: request.id.as_bytes().to_vec(),
        door: door.into(),
        tenant: request.tenant.clone(),
        purpose: request.purpose.clone(),
        operation: Some(operation),
    })
}

/// The request that a message says.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn request_in(message: pb::Request) -> Result<Request, Malformed> {
    let operation = match message.operation.ok_or(Malformed)? {
        OperationPart::Read(read) => Operation::Read(read_in(read, NESTING_MAX)?),
        OperationPart::Insert(insert) => Operation::Insert(insert_in(insert)?),
        OperationPart::Update(update) => Operation::Update(update_in(update)?),
        OperationPart::Delete(delete) => Operation::Delete(delete_in(delete)?),
        OperationPart::History(pb::History { record_type, key, fields: select, limit }) => {
            Operation::History(History { record_type, key, select, limit })
        }
        // serde_json stops at 128 levels by itself.
        OperationPart::Control(json) => Operation::Control(serde_json::from_slice(&json).map_err(|_| Malformed)?),
    };
    Ok(Request {
        id: RequestId::from_bytes(sixteen(&message.id)?),
        door: door_in(message.door)?.ok_or(Malformed)?,
        tenant: message.tenant,
        purpose: message.purpose,
        operation,
    })
}

/// A door, or none.
pub(crate) fn door_in(door: i32) -> Result<Option<Door>, Malformed> {
    Ok(match pb::Door::try_from(door).map_err(|_| Malformed)? {
        pb::Door::Unspecified => None,
        pb::Door::Http => Some(Door::Http),
        pb::Door::Sql => Some(Door::Sql),
        pb::Door::Mcp => Some(Door::Mcp),
    })
}

fn deeper(depth: usize) -> Result<usize, Malformed> {
    depth.checked_sub(1).ok_or(Malformed)
}

fn read_out(read: &Read, depth: usize) -> Result<pb::Read, Malformed> {
    Ok(pb::Read {
        record_type: read.record_type.clone(),
        select: selects_out(&read.select, depth)?,
        filter: filter_out(&read.filter, depth)?,
        order: read.order.iter().map(order_out).collect(),
        limit: read.limit,
        offset: read.offset,
        count: read.count,
        after: read.after.as_ref().map(after_out),
    })
}

fn read_in(read: pb::Read, depth: usize) -> Result<Read, Malformed> {
    Ok(Read {
        record_type: read.record_type,
        select: selects_in(read.select, depth)?,
        filter: filter_in(read.filter, depth)?,
        order: read.order.into_iter().map(order_in).collect(),
        limit: read.limit,
        offset: read.offset,
        count: read.count,
        after: read.after.map(after_in).transpose()?,
    })
}

fn after_out(after: &After) -> pb::After {
    let keys = after.keys.iter().map(|value| pb::Text { value: value.clone() }).collect();
    pb::After { keys, record: after.record.as_bytes().to_vec() }
}

fn after_in(after: pb::After) -> Result<After, Malformed> {
    let keys = after.keys.into_iter().map(|text| text.value).collect();
    Ok(After { keys, record: RecordId::from_bytes(sixteen(&after.record)?) })
}

fn order_out(order: &Order) -> pb::Order {
    pb::Order { field: order.field.clone(), descending: order.descending, nulls_first: order.nulls_first }
}

fn order_in(order: pb::Order) -> Order {
    Order { field: order.field, descending: order.descending, nulls_first: order.nulls_first }
}

fn selects_out(selects: &[Select], depth: usize) -> Result<Vec<pb::Select>, Malformed> {
    selects
        .iter()
        .map(|select| {
            let part = match select {
                Select::All => Part::All(pb::Empty {}),
                Select::Field { field, alias } => {
                    Part::Field(pb::SelectField { field: field.clone(), alias: alias.clone() })
                }
                Select::Embed(embed) => Part::Embed(pb::Embed {
                    alias: embed.alias.clone(),
                    hint: embed.hint.clone(),
                    inner: embed.inner,
                    read: Some(read_out(&embed.read, deeper(depth)?)?),
                }),
            };
            Ok(pb::Select { part: Some(part) })
        })
        .collect()
}

fn selects_in(selects: Vec<pb::Select>, depth: usize) -> Result<Vec<Select>, Malformed> {
    selects
        .into_iter()
        .map(|select| {
            Ok(match select.part.ok_or(Malformed)? {
                Part::All(pb::Empty {}) => Select::All,
                Part::Field(pb::SelectField { field, alias }) => Select::Field { field, alias },
                Part::Embed(pb::Embed { alias, hint, inner, read }) => {
                    let read = read_in(read.ok_or(Malformed)?, deeper(depth)?)?;
                    Select::Embed(Embed { alias, hint, inner, read })
                }
            })
        })
        .collect()
}

/// `None` is the filter that lets everything through, which most requests have.
fn filter_out(filter: &Filter, depth: usize) -> Result<Option<pb::Filter>, Malformed> {
    match filter {
        Filter::And(all) if all.is_empty() => Ok(None),
        other => condition_out(other, depth).map(Some),
    }
}

fn condition_out(filter: &Filter, depth: usize) -> Result<pb::Filter, Malformed> {
    let list = |filters: &[Filter]| -> Result<pb::FilterList, Malformed> {
        let depth = deeper(depth)?;
        let filters = filters.iter().map(|one| condition_out(one, depth)).collect::<Result<_, _>>()?;
        Ok(pb::FilterList { filters })
    };
    let condition = match filter {
        Filter::And(all) => Condition::And(list(all)?),
        Filter::Or(any) => Condition::Or(list(any)?),
        Filter::Not(inner) => Condition::Not(Box::new(condition_out(inner, deeper(depth)?)?)),
        Filter::Test { field, operator, literal } => {
            let literal = match literal {
                Literal::One(text) => LiteralPart::One(text.clone()),
                Literal::List(texts) => LiteralPart::List(pb::TextList { texts: texts.clone() }),
            };
            let operator = operator_out(*operator).into();
            Condition::Test(pb::Test { field: field.clone(), operator, literal: Some(literal) })
        }
    };
    Ok(pb::Filter { condition: Some(condition) })
}

fn filter_in(filter: Option<pb::Filter>, depth: usize) -> Result<Filter, Malformed> {
    filter.map_or_else(|| Ok(Filter::default()), |filter| condition_in(filter, depth))
}

fn condition_in(filter: pb::Filter, depth: usize) -> Result<Filter, Malformed> {
    let list = |list: pb::FilterList| -> Result<Vec<Filter>, Malformed> {
        let depth = deeper(depth)?;
        list.filters.into_iter().map(|one| condition_in(one, depth)).collect()
    };
    Ok(match filter.condition.ok_or(Malformed)? {
        Condition::And(all) => Filter::And(list(all)?),
        Condition::Or(any) => Filter::Or(list(any)?),
        Condition::Not(inner) => Filter::Not(Box::new(condition_in(*inner, deeper(depth)?)?)),
        Condition::Test(pb::Test { field, operator, literal }) => {
            let literal = match literal.ok_or(Malformed)? {
                LiteralPart::One(text) => Literal::One(text),
                LiteralPart::List(list) => Literal::List(list.texts),
            };
            Filter::Test { field, operator: operator_in(operator)?, literal }
        }
    })
}

const fn operator_out(operator: Operator) -> pb::Operator {
    match operator {
        Operator::Eq => pb::Operator::Eq,
        Operator::Neq => pb::Operator::Neq,
        Operator::Gt => pb::Operator::Gt,
        Operator::Gte => pb::Operator::Gte,
        Operator::Lt => pb::Operator::Lt,
        Operator::Lte => pb::Operator::Lte,
        Operator::Like => pb::Operator::Like,
        Operator::Ilike => pb::Operator::Ilike,
        Operator::In => pb::Operator::In,
        Operator::Is => pb::Operator::Is,
    }
}

fn operator_in(operator: i32) -> Result<Operator, Malformed> {
    Ok(match pb::Operator::try_from(operator).map_err(|_| Malformed)? {
        pb::Operator::Unspecified => return Err(Malformed),
        pb::Operator::Eq => Operator::Eq,
        pb::Operator::Neq => Operator::Neq,
        pb::Operator::Gt => Operator::Gt,
        pb::Operator::Gte => Operator::Gte,
        pb::Operator::Lt => Operator::Lt,
        pb::Operator::Lte => Operator::Lte,
        pb::Operator::Like => Operator::Like,
        pb::Operator::Ilike => Operator::Ilike,
        pb::Operator::In => Operator::In,
        pb::Operator::Is => Operator::Is,
    })
}

fn row_out(row: &InputRow) -> pb::InputRow {
    let inputs = row.iter().map(|(field, input)| {
        let input = match input {
            Input::Null => InputPart::Null(pb::Empty {}),
            Input::Text(text) => InputPart::Text(text.clone()),
            Input::Json(json) => InputPart::Json(json.clone()),
        };
        pb::NamedInput { field: field.clone(), input: Some(input) }
    });
    pb::InputRow { inputs: inputs.collect() }
}

fn row_in(row: pb::InputRow) -> Result<InputRow, Malformed> {
    row.inputs
        .into_iter()
        .map(|named| {
            let input = match named.input.ok_or(Malformed)? {
                InputPart::Null(pb::Empty {}) => Input::Null,
                InputPart::Text(text) => Input::Text(text),
                InputPart::Json(json) => Input::Json(json),
            };
            Ok((named.field, input))
        })
        .collect()
}

fn returning_out(returning: Option<&Vec<Select>>) -> Result<Option<pb::Returning>, Malformed> {
    returning.map(|select| Ok(pb::Returning { select: selects_out(select, NESTING_MAX)? })).transpose()
}

fn returning_in(returning: Option<pb::Returning>) -> Result<Option<Vec<Select>>, Malformed> {
    returning.map(|returning| selects_in(returning.select, NESTING_MAX)).transpose()
}

fn insert_out(insert: &Insert) -> Result<pb::Insert, Malformed> {
    Ok(pb::Insert {
        record_type: insert.record_type.clone(),
        rows: insert.rows.iter().map(row_out).collect(),
        on_conflict: insert
            .on_conflict
            .as_ref()
            .map(|conflict| pb::OnConflict { field: conflict.field.clone(), merge: conflict.merge }),
        returning: returning_out(insert.returning.as_ref())?,
    })
}

fn insert_in(insert: pb::Insert) -> Result<Insert, Malformed> {
    Ok(Insert {
        record_type: insert.record_type,
        rows: insert.rows.into_iter().map(row_in).collect::<Result<_, _>>()?,
        on_conflict: insert.on_conflict.map(|pb::OnConflict { field, merge }| OnConflict { field, merge }),
        returning: returning_in(insert.returning)?,
    })
}

fn update_out(update: &Update) -> Result<pb::Update, Malformed> {
    Ok(pb::Update {
        record_type: update.record_type.clone(),
        set: Some(row_out(&update.set)),
        filter: filter_out(&update.filter, NESTING_MAX)?,
        max_affected: update.max_affected,
        returning: returning_out(update.returning.as_ref())?,
    })
}

fn update_in(update: pb::Update) -> Result<Update, Malformed> {
    Ok(Update {
        record_type: update.record_type,
        set: row_in(update.set.ok_or(Malformed)?)?,
        filter: filter_in(update.filter, NESTING_MAX)?,
        max_affected: update.max_affected,
        returning: returning_in(update.returning)?,
    })
}

fn delete_out(delete: &Delete) -> Result<pb::Delete, Malformed> {
    Ok(pb::Delete {
        record_type: delete.record_type.clone(),
        filter: filter_out(&delete.filter, NESTING_MAX)?,
        max_affected: delete.max_affected,
        returning: returning_out(delete.returning.as_ref())?,
    })
}

fn delete_in(delete: pb::Delete) -> Result<Delete, Malformed> {
    Ok(Delete {
        record_type: delete.record_type,
        filter: filter_in(delete.filter, NESTING_MAX)?,
        max_affected: delete.max_affected,
        returning: returning_in(delete.returning)?,
    })
}
