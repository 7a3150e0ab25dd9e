//! Services' own keys in the database, each wrapped by its service's key management service: what a service without a
//! disk of its own comes back with.

use std::sync::Arc;

use countersign_postgres::{Blocking, Migration, PgError, Scope};

/// The table. Each service sees its own rows.
pub(crate) const SERVICE_KEYS: Migration = Migration {
    part: "service-keys",
    steps: &["
        CREATE TABLE service_key (
            role text NOT NULL DEFAULT current_user, instance text NOT NULL, wrapped bytea NOT NULL,
            PRIMARY KEY (role, instance));
        ALTER TABLE service_key ENABLE ROW LEVEL SECURITY;
        ALTER TABLE service_key FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON service_key USING (role = current_user) WITH CHECK (role = current_user);
        GRANT SELECT, INSERT, UPDATE ON service_key TO
            countersign_gateway, countersign_keys, countersign_store, countersign_monitor;
    "],
};

/// The row of one service's key.
pub(super) struct Row {
    pub(super) database: Arc<Blocking>,
    pub(super) instance: String,
}

impl Row {
    /// The wrapped key, if there is one.
    ///
    /// # Errors
    /// What the database may meet.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, PgError> {
        let instance = self.instance.clone();
        self.database.run(|pool| async move {
            let text: Arc<str> = "SELECT wrapped FROM service_key WHERE role = current_user AND instance = $1".into();
            let rows = pool.begin(Scope::Service).await?.read(&text, &[&instance]).await?;
            rows.first().map(|row| row.try_get(0)).transpose().map_err(PgError::from)
        })
    }

    /// Keeps a wrapped key if there is none yet, and gives the one that is there then.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn keep(&self, wrapped: Vec<u8>) -> Result<Vec<u8>, PgError> {
        self.write(
            "INSERT INTO service_key (instance, wrapped) VALUES ($1, $2) ON CONFLICT (role, instance) DO NOTHING",
            wrapped,
        )?;
        self.read()?.ok_or(PgError::Damaged)
    }

    /// Puts another wrapping of the same key in its place.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn replace(&self, wrapped: Vec<u8>) -> Result<(), PgError> {
        self.write("UPDATE service_key SET wrapped = $2 WHERE role = current_user AND instance = $1", wrapped)
    }

    fn write(&self, text: &'static str, wrapped: Vec<u8>) -> Result<(), PgError> {
        let instance = self.instance.clone();
        self.database.run(move |pool| async move {
            let mut transaction = pool.begin(Scope::Service).await?;
            transaction.execute(&text.into(), &[&instance, &wrapped]).await?;
            transaction.commit().await.map(drop)
        })
    }
}
