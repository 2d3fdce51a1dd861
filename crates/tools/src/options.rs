//! The settings every tool made in code has.

/// Builder methods over a field `spec: ToolSpec`.
macro_rules! spec_options {
    () => {
        /// What a call changes; decides about retries, recovery and approval.
        #[must_use]
        pub fn effect(mut self, effect: ::ambidex_core::tool::EffectClass) -> Self {
            self.spec.effect = effect;
            self
        }

        /// Never runs beside another tool of its run.
        #[must_use]
        pub fn exclusive(mut self) -> Self {
            self.spec.exclusive = true;
            self
        }

        /// How long one call may take; 30 s where it is not set.
        #[must_use]
        pub fn timeout(mut self, timeout: ::std::time::Duration) -> Self {
            self.spec.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            self
        }

        /// Attempts in all for a `read` or `idempotent` tool whose error says a retry helps.
        #[must_use]
        pub fn attempts(mut self, attempts: u32) -> Self {
            self.spec.attempts = Some(attempts.max(1));
            self
        }

        /// Calls of this tool that may run at once in this process.
        #[must_use]
        pub fn concurrency(mut self, calls: u32) -> Self {
            self.spec.concurrency = Some(calls.max(1));
            self
        }

        /// The name the model calls it by.
        #[must_use]
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.spec.name = name.into();
            self
        }
    };
}

pub(crate) use spec_options;
