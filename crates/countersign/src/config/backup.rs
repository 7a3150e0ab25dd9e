//! `[backup.NAME]`

use super::section::section;
use super::setting::{Text, Whole};

/// The longest time between two things that are done again and again: a year.
const YEAR_MS: u64 = 31_536_000_000;

section! {
    /// A repository of backups: a folder, or a place in an object store that speaks S3. NAME is lower-case letters, digits,
    /// '_' and '-'. There may be any number of these sections; a backup in one of them says nothing of the others.
    Backup = "backup.NAME" {
        /// The folder; a path that is not absolute is one in the deployment's folder. It should be on another disk.
        folder: Text = Text::empty();
        /// The place in an object store instead, such as "s3://BUCKET/PREFIX".
        url: Text = Text::empty();
        /// The object store's address, such as "https://storage:9000"; empty for the one of the cloud that made the
        /// protocol. One without encryption is taken on this machine only.
        endpoint: Text = Text::empty();
        /// The object store's region.
        region: Text = Text::of("us-east-1");
        /// A file with the access key's id on its first line and its secret on the second, readable by its owner alone;
        /// without one they are in COUNTERSIGN_S3_KEY_NAME and COUNTERSIGN_S3_SECRET_NAME.
        credentials_file: Text = Text::empty();
        /// How often a backup of the whole deployment is made, in milliseconds; 0 makes one only when it is asked for.
        every_ms: Whole<0, YEAR_MS> = Whole::new(0);
        /// How often the newest backup is restored on trial and compared, in milliseconds; 0 does so only when it is asked
        /// for.
        verify_every_ms: Whole<0, YEAR_MS> = Whole::new(0);
        /// After how long without a good backup somebody is alerted, in milliseconds; 0 alerts nobody.
        old_ms: Whole<0, YEAR_MS> = Whole::new(0);
        /// How many backups of the whole deployment, and of each tenant alone, are kept at least.
        keep: Whole<1, 100_000> = Whole::new(30);
        /// For how many days backups are kept at least; older ones beyond keep are removed after the next backup.
        keep_days: Whole<0, 36_500> = Whole::new(0);
    }
}
