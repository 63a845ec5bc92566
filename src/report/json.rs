//! JSON: every number in its base unit, with interval, basis and sources where it has them.

use serde_json::{Map, Value, json};

use super::page::{Page, Section};
use crate::table::{Cell, Number, Table};

/// `{ "title", "columns": [{ "key", "header" }], "rows": [{ key: cell }], "notes": [] }`. A cell is `null`, a string, a bare number, or, where
/// there is more to say about it, an object `{ "value", "unit", "low", "high", "basis", "from" }`.
pub fn json(table: &Table) -> Value {
    let columns: Vec<Value> = table.columns().iter().map(|column| json!({ "key": column.key, "header": column.header })).collect();
    let rows: Vec<Value> = table
        .rows()
        .iter()
        .map(|row| Value::Object(table.columns().iter().zip(row).map(|(column, cell)| (column.key.clone(), show(cell))).collect()))
        .collect();
    json!({ "title": table.title, "columns": columns, "rows": rows, "notes": table.notes })
}

/// `{ "title", "simulated", "machines", "verdicts": [], "sections": [{ "id", "title", "words": [], "tables": [] }] }`.
pub(super) fn page(page: &Page) -> Value {
    let section = |section: &Section| {
        let tables: Vec<Value> = section.tables(page).iter().map(json).collect();
        json!({ "id": section.id, "title": section.title, "words": section.words(), "tables": tables })
    };
    let sections: Vec<Value> = page.sections.iter().map(section).collect();
    json!({
        "title": page.title,
        "simulated": page.simulated,
        "machines": page.machines,
        "verdicts": page.sections.iter().flat_map(Section::verdicts).collect::<Vec<_>>(),
        "sections": sections,
    })
}

fn show(cell: &Cell) -> Value {
    match cell {
        Cell::Empty => Value::Null,
        Cell::Text(text) => Value::String(text.clone()),
        Cell::Number(Number { value, unit: "", range: None, basis: None, .. }) => bare(*value),
        Cell::Number(number) => {
            let mut object = Map::new();
            object.insert("value".into(), bare(number.value));
            if !number.unit.is_empty() {
                object.insert("unit".into(), number.unit.into());
            }
            if let Some((low, high)) = number.range {
                object.insert("low".into(), bare(low));
                object.insert("high".into(), bare(high));
            }
            if let Some(basis) = number.basis {
                object.insert("basis".into(), basis.words().into());
                object.insert("from".into(), number.from.clone().into());
            }
            Value::Object(object)
        }
    }
}

/// Whole numbers without a fraction, as long as a float holds them exactly; what is not finite is `null`.
fn bare(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT { Value::from(value as i64) } else { Value::from(value) }
}
