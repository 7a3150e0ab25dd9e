use super::*;

#[test]
fn a_layout_is_written_as_letters() {
    for text in ["", "u", "u--i/ui", "ui/-/u"] {
        assert_eq!(Layout::parse(text).unwrap().to_text(), text);
    }
    assert_eq!(Layout::parse("u-x"), Err(StoreError::Damaged));
    let types = crate::types_file::parse(
        r#"
        [types.a.fields]
        free = { kind = "text", class = "public" }
        id = { kind = "text", class = "public" }
        [types.b.fields]
        id = { kind = "text", class = "public" }
        a_id = { references = "a", class = "public" }
        "#,
    );
    assert_eq!(Layout::of(&types.unwrap()).to_text(), "-u/ui");
}
