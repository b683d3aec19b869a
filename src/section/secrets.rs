//! Secrets, which may stand somewhere else than in the file.

use super::{Section, WordOrTable};
use crate::problems::Problem;
use crate::secret::Secret;

impl Section<'_> {
    /// A secret: the string itself, `{ env = "NAME" }` or `{ file = "PATH" }` (one line break at its end is dropped).
    pub fn secret(&self, key: &'static str) -> Option<Secret<String>> {
        match self.word_or_table(key)? {
            WordOrTable::Word(found) => Some(Secret::new(found.value)),
            WordOrTable::Table(section) => section.secret_elsewhere(),
        }
    }

    fn secret_elsewhere(&self) -> Option<Secret<String>> {
        let (env, file) = (self.string("env"), self.path("file"));
        match (env, file) {
            (Some(name), None) => std::env::var(&name.value).map(Secret::new).map_err(|_| {
                let message = format!("the environment variable {:?} is not set", name.value);
                self.problem(Problem::at(&name.place, message));
            }),
            (None, Some(path)) => std::fs::read_to_string(&path.value)
                .map(|text| Secret::new(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
                .map_err(|error| {
                    let message = format!("cannot read the secret in {}: {error}", path.value.display());
                    self.problem(Problem::at(&path.place, message));
                }),
            _ => {
                let hint = "write { env = \"NAME\" } or { file = \"PATH\" }";
                self.problem(Problem::at(&self.place(), "a secret comes from one place").hint(hint));
                Err(())
            }
        }
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::TomlFile;
    use crate::problems::Source;

    #[test]
    fn secrets_come_from_the_file_the_environment_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("k"), "s3cret\n").unwrap();
        let text = "a = \"x\"\nb = { file = \"k\" }\nc = { env = \"PATH\" }\nd = {}\ne = { env = \"NO_SUCH_NAME_1\" }";
        let source = Source::new(folder.path().join("v.toml"), text.into());
        let file = TomlFile::parse(&source);
        {
            let root = file.root();
            assert_eq!(root.secret("a").unwrap().expose(), "x");
            assert_eq!(root.secret("b").unwrap().expose(), "s3cret");
            assert_eq!(root.secret("c").unwrap().expose(), &std::env::var("PATH").unwrap());
            assert!(root.secret("d").is_none() && root.secret("e").is_none());
        }
        assert_eq!(file.into_problems().iter().count(), 2);
    }
}
