//! Cutting a policy file into its policies, so that each keeps its place in the file.
//!
//! Cedar parses a whole file too, but then no longer says where a policy stood.

/// One policy's text, and where in the file it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    pub text: &'a str,
    pub start: usize,
}

/// The most that one policy can nest or chain. Cedar's tree has a level for each, and it is walked by recursion.
pub(crate) const DEPTH_MAX: usize = 250;
/// The longest policy.
pub(crate) const BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    Text,
    Comment,
}

/// The statements of a file: each ends at a `;` outside strings and comments. The last may lack it.
pub(crate) fn split(file: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let mut begun: Option<usize> = None;
    scan(file, |at, inside, character| {
        if inside == Inside::Code && !character.is_whitespace() && begun.is_none() {
            begun = Some(at);
        }
        if inside == Inside::Code && character == ';' {
            let start = begun.take().unwrap_or(at);
            let end = at.saturating_add(1);
            statements.extend(file.get(start..end).map(|text| Statement { text, start }));
        }
    });
    if let Some(start) = begun {
        statements.extend(file.get(start..).map(|text| Statement { text, start }));
    }
    statements
}

/// How deep the policy's tree can be at most, counted by what makes it deeper.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut previous) = (0usize, ' ');
    scan(text, |_, inside, character| {
        let deeper = match character {
            '.' | '(' | '[' | '{' | '!' | '-' | '+' | '*' | '<' | '>' => true,
            '&' | '|' | '=' => previous == character,
            'f' => previous == 'i',
            _ => false,
        };
        if inside == Inside::Code && deeper {
            depth = depth.saturating_add(1);
        }
        previous = character;
    });
    depth
}

/// Line and column of a byte offset, both from 1.
pub(crate) fn place(file: &str, offset: usize) -> (usize, usize) {
    let before = file.get(..offset).unwrap_or(file);
    let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count().saturating_add(1), column.saturating_add(1))
}

fn scan(file: &str, mut each: impl FnMut(usize, Inside, char)) {
    let mut inside = Inside::Code;
    let mut characters = file.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match (inside, character) {
            (Inside::Code, '/') if next == Some('/') => inside = Inside::Comment,
            (Inside::Comment, '\n') => inside = Inside::Code,
            (Inside::Code, '"') => {
                each(at, Inside::Code, character);
                inside = Inside::Text;
                continue;
            }
            (Inside::Text, '\\') => {
                characters.next();
            }
            (Inside::Text, '"') => inside = Inside::Code,
            _ => {}
        }
        each(at, inside, character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_strings_and_comments() {
        let file = "// a; b\n@id(\"x;\\\";\")\npermit (a);\n\n  forbid; // done;\n rest";
        let found = split(file);
        let texts: Vec<_> = found.iter().map(|statement| statement.text).collect();
        assert_eq!(texts, ["@id(\"x;\\\";\")\npermit (a);", "forbid;", "rest"]);
        let places: Vec<_> = found.iter().map(|statement| place(file, statement.start)).collect();
        assert_eq!(places, [(2, 1), (5, 3), (6, 2)]);
    }

    #[test]
    fn an_empty_file_has_no_statements() {
        assert_eq!(split(" \n// only a comment"), []);
    }

    #[test]
    fn depth_counts_what_nests_and_ignores_strings() {
        assert_eq!(depth("permit (a) when { a.b && \"((((\" == c };"), 5);
    }
}
