//! Links between the project's own documents: each leads to a file, and to a heading of it where it names one.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::files::tracked;
use crate::process::root;
use crate::steps::Outcome;

/// Checks every relative link of every Markdown file.
pub fn check() -> Result<Outcome> {
    let mut broken = Vec::new();
    let mut checked = 0usize;
    let files = tracked(&["."], "md")?;
    for file in &files {
        let text = std::fs::read_to_string(root().join(file)).with_context(|| file.display().to_string())?;
        for (line, target) in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            checked = checked.saturating_add(1);
            if let Err(why) = follow(file, target) {
                broken.push(format!("{}:{line}: {target}: {why}", file.display()));
            }
        }
    }
    println!("{checked} relative links in {} files", files.len());
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "));
    }
    Ok(Outcome::Passed)
}

/// `](target)` outside code blocks and code spans, with line numbers.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        let outside_spans = line.split('`').step_by(2);
        for piece in outside_spans.flat_map(|part| part.split("](").skip(1)) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push((index.saturating_add(1), target.split(' ').next().unwrap_or(target)));
            }
        }
    }
    found
}

fn follow(from: &Path, target: &str) -> Result<()> {
    let (path, heading) = target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
    let folder = from.parent().unwrap_or(Path::new(""));
    let file = if path.is_empty() { root().join(from) } else { root().join(folder).join(path) };
    if !file.exists() {
        bail!("no such file");
    }
    if let Some(heading) = heading
        && file.extension().is_some_and(|extension| extension == "md")
    {
        let text = std::fs::read_to_string(&file)?;
        let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
        if !headings.any(|anchor| anchor == heading) {
            bail!("no such heading");
        }
    }
    Ok(())
}

/// The anchor that a heading gets: lower case, spaces as hyphens, punctuation dropped.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "see [a](b.md#c) and `[x](y)`\n```\n[no](no)\n```\n[d](<e> \"title\")";
        assert_eq!(links(text), [(1, "b.md#c"), (5, "<e>")]);
        assert_eq!(anchor("## What `serve` does, in short"), "what-serve-does-in-short");
    }
}
