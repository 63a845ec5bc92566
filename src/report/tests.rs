//! What every renderer promises, on fixed tables and on random ones.

use proptest::prelude::*;

use super::*;
use crate::figure::{Basis, Figure};
use crate::lang::Lang;
use crate::stats::Interval;
use crate::units::BytesPerSecond;

fn example() -> Table {
    let mut table = Table::new(
        "Bandwidth",
        [Column::text("gpu", "GPU"), Column::number("rate", "DRAM read").unit("GB/s"), Column::text("remark", "Remark")],
    );
    let measured = Figure::<BytesPerSecond>::measured(Interval::new(4.43e12, 4.42e12, 4.44e12), "dram.read/bytes=4GiB,gpu=0");
    table.row(["NVIDIA H200".into(), Cell::figure_in(&measured, 1e9, 0), "all words of this remark wrap".into()]);
    let printed = Figure::new(BytesPerSecond(1.008e12), Basis::Datasheet, "whitepaper");
    table.row(["RTX 4090".into(), Cell::figure_in(&printed, 1e9, 0)]);
    table.note("Decimal units.");
    table
}

#[test]
fn text_is_aligned_and_explains_its_marks() {
    assert_eq!(
        text(&example(), None),
        "\
Bandwidth
GPU          DRAM read (GB/s)  Remark
───────────  ────────────────  ─────────────────────────────
NVIDIA H200             4430ᵐ  all words of this remark wrap
RTX 4090                1008ᵈ  –
• Decimal units.
ᵐ measured here · ᵈ datasheet
"
    );
}

#[test]
fn narrow_text_wraps_words_and_headings_but_never_numbers() {
    assert_eq!(
        text(&example(), Some(36)),
        "\
Bandwidth
               DRAM
               read
GPU          (GB/s)  Remark
───────────  ──────  ───────────────
NVIDIA H200   4430ᵐ  all words of
                     this remark
                     wrap
RTX 4090      1008ᵈ  –
• Decimal units.
ᵐ measured here · ᵈ datasheet
"
    );
}

#[test]
fn text_too_narrow_for_a_grid_becomes_blocks() {
    assert_eq!(
        text(&example(), Some(20)),
        "\
Bandwidth
────────────────────
GPU: NVIDIA H200
DRAM read (GB/s):
4430ᵐ
Remark: all words of
this remark wrap
────────────────────
GPU: RTX 4090
DRAM read (GB/s):
1008ᵈ
Remark: –
• Decimal units.
ᵐ measured here · ᵈ
datasheet
"
    );
}

#[test]
fn wide_characters_keep_the_columns_straight() {
    let mut table = Table::new("표", [Column::text("item", "항목"), Column::number("n", "수")]).in_lang(Lang::Ko);
    table.row(["대역폭".into(), Cell::count(7)]);
    table.row(["GPU".into(), Cell::figure_as(&Figure::assumed(12.0, "rule"), "12")]);
    assert_eq!(
        text(&table, None),
        "\
표
항목     수
──────  ───
대역폭    7
GPU     12ᵃ
ᵃ 가정
"
    );
}

#[test]
fn markdown_shows_the_same_table() {
    assert_eq!(
        markdown(&example()),
        "\
### Bandwidth

| GPU | DRAM read (GB/s) | Remark |
| --- | ---: | --- |
| NVIDIA H200 | 4430ᵐ | all words of this remark wrap |
| RTX 4090 | 1008ᵈ | – |

- Decimal units.

ᵐ measured here · ᵈ datasheet
"
    );
}

#[test]
fn csv_gives_units_a_column_where_they_differ() {
    let mut table = Table::new("Mixed", [Column::text("what", "what"), Column::number("value", "value")]);
    table.row([Cell::text("size"), Cell::plain(crate::units::Bytes::gib(1))]);
    table.row([Cell::text("power"), Cell::plain(crate::units::Watts(700.0))]);
    table.row([Cell::text("count"), Cell::count(3)]);
    table.row([Cell::text("words"), Cell::text("HBM2")]);
    assert_eq!(csv(&table), "what,value,value_unit\r\nsize,1073741824,B\r\npower,700,W\r\ncount,3,\r\nwords,HBM2,\r\n");
}

#[test]
fn csv_keeps_base_units_and_gives_the_basis_a_column() {
    assert_eq!(
        csv(&example()),
        "gpu,rate [B/s],rate_basis,remark\r\n\
         NVIDIA H200,4430000000000,measured here,all words of this remark wrap\r\n\
         RTX 4090,1008000000000,datasheet,\r\n"
    );
}

#[test]
fn json_carries_interval_basis_and_sources() {
    let value = json(&example());
    assert_eq!(
        value["rows"][0]["rate"],
        serde_json::json!({
            "value": 4_430_000_000_000_i64, "unit": "B/s", "low": 4_420_000_000_000_i64, "high": 4_440_000_000_000_i64,
            "basis": "measured here", "from": ["dram.read/bytes=4GiB,gpu=0"],
        })
    );
    assert_eq!(value["rows"][1]["remark"], serde_json::Value::Null);
    assert_eq!(value["columns"][1]["key"], "rate");
}

#[test]
fn what_a_medium_would_obey_is_neutralised() {
    let mut table = Table::new("\u{1b}[2Jtitle\nsecond", [Column::text("a", "a")]);
    table.row([Cell::text("=HYPERLINK(\"x\")")]);
    table.row([Cell::text("a|b\u{202e}<img>\r\n# c")]);
    assert_eq!(text(&table, None).lines().next().unwrap(), r"\u{1b}[2Jtitle second");
    assert!(markdown(&table).contains(r"| a\|b\\u{202e}&lt;img&gt;  \# c |"));
    assert!(csv(&table).contains("\"'=HYPERLINK(\"\"x\"\")\""));
}

#[test]
fn bars_and_sparklines_have_the_width_asked_for() {
    assert_eq!(bar(0.5, 4), "██  ");
    assert_eq!(bar(0.53, 4), "██▏ ");
    assert_eq!(bar(7.0, 3), "███");
    assert_eq!(bar(f64::NAN, 2), "  ");
    assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0, f64::NAN]), "▁▁▄█ ");
}

fn any_cell() -> impl Strategy<Value = Cell> {
    let basis = proptest::sample::select(Basis::ALL.to_vec());
    prop_oneof![
        Just(Cell::Empty),
        any::<String>().prop_map(Cell::text),
        "[가-힣a-z|\\\\ ]{0,30}".prop_map(Cell::text),
        (any::<f64>(), basis, any::<String>()).prop_map(|(value, basis, from)| Cell::figure(&Figure::new(value, basis, from))),
        any::<u64>().prop_map(Cell::count),
    ]
}

fn any_table() -> impl Strategy<Value = Table> {
    (0..6usize, any::<String>()).prop_flat_map(|(columns, title)| {
        let headers = proptest::collection::vec((any::<String>(), any::<bool>()), columns);
        let rows = proptest::collection::vec(proptest::collection::vec(any_cell(), 0..=columns), 0..6);
        (headers, rows, proptest::collection::vec(any::<String>(), 0..3)).prop_map(move |(headers, rows, notes)| {
            let columns = headers.into_iter().enumerate().map(|(index, (header, number))| {
                let key = format!("c{index}");
                if number { Column::number(&key, header) } else { Column::text(&key, header) }
            });
            let mut table = Table::new(title.clone(), columns);
            rows.into_iter().for_each(|row| table.row(row));
            notes.into_iter().for_each(|note| table.note(note));
            table
        })
    })
}

/// Cells of a Markdown row: its parts between pipes that are not escaped.
fn markdown_cells(line: &str) -> usize {
    let mut pipes = 0;
    let mut escaped = false;
    for c in line.chars() {
        match c {
            '|' if !escaped => pipes += 1,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    pipes - 1
}

proptest! {
    #[test]
    fn every_row_has_every_column_in_every_format(table in any_table()) {
        let columns = table.columns().len();
        for row in table.rows() {
            prop_assert_eq!(row.len(), columns);
        }
        let value = json(&table);
        for row in value["rows"].as_array().unwrap() {
            prop_assert_eq!(row.as_object().unwrap().len(), columns);
        }
        if columns > 0 {
            let markdown = markdown(&table);
            let lines: Vec<&str> = markdown.lines().skip(2).take(2 + table.rows().len()).collect();
            prop_assert_eq!(lines.len(), 2 + table.rows().len());
            for line in lines {
                prop_assert_eq!(markdown_cells(line), columns, "{}", line);
            }
        }
    }

    #[test]
    fn text_fits_its_terminal_and_carries_no_control_characters(table in any_table(), limit in 0..120usize) {
        let text = text(&table, Some(limit));
        for line in text.lines() {
            prop_assert!(width(line) <= limit.max(20), "{} columns: {:?}", width(line), line);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }

    #[test]
    fn formats_for_programs_carry_no_control_characters_and_json_loses_nothing(name in any::<String>()) {
        let mut table = Table::new("hostile", [Column::text("name", "name")]);
        table.row([Cell::text(name.clone())]);
        for format in [Format::Csv, Format::Json] {
            let text = render(std::slice::from_ref(&table), format);
            prop_assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')), "{:?}", text);
        }
        let text = render(std::slice::from_ref(&table), Format::Json);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read["rows"][0]["name"], &serde_json::Value::String(name));
    }

    #[test]
    fn no_format_panics(table in any_table(), limit in proptest::option::of(0..200usize)) {
        for format in [Format::Text { width: limit }, Format::Markdown, Format::Csv, Format::Json] {
            prop_assert!(render(&[table.clone(), table.clone()], format).ends_with('\n'));
        }
    }
}
