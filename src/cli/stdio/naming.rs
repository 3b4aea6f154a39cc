//! The name of a server that was given only as a command.

/// Programs that start another: the first thing they are given says more.
const RUNNERS: [&str; 11] =
    ["uvx", "uv", "npx", "bunx", "pnpx", "pipx", "node", "python", "python3", "deno", "docker"];
const LONGEST: usize = 24;

/// `[a-z0-9_-]{1,24}` without `__`, from the program or from what its runner runs.
pub(super) fn of(command: &[String]) -> String {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let runs = |word: &&String| {
        let word = word.as_str();
        !word.starts_with('-') && !matches!(word, "run" | "tool" | "exec" | "dlx")
    };
    let inner = command.iter().skip(1).find(runs).filter(|_| RUNNERS.contains(&base(program)));
    let name = slug(base(inner.map_or(program, String::as_str)));
    if name.is_empty() { "server".to_owned() } else { name }
}

/// The file's name without its folder, package scope, version and ending.
fn base(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    [".py", ".js", ".mjs", ".ts", ".sh"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if c != '-' || !(slug.is_empty() || slug.ends_with('-')) {
            slug.push(c);
        }
    }
    slug.truncate(LONGEST);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::of;

    fn name(line: &str) -> String {
        of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_is_named_by_what_it_runs() {
        assert_eq!(name("/usr/bin/my_server --x"), "my-server");
        assert_eq!(name("npx -y @modelcontextprotocol/server-filesystem@1.2 /tmp"), "server-filesystem");
        assert_eq!(name("python3 /srv/tools/Weather.py"), "weather");
        assert_eq!(name("uvx awslabs.aws-healthomics-mcp-server"), "awslabs-aws-healthomics");
        assert_eq!(name("***"), "server");
    }
}
