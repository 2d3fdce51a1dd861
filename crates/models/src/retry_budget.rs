//! How many retries a provider may get: so many of every hundred calls, and a burst.

use std::sync::{Mutex, PoisonError};

/// Retries left, shared by all models of one provider. Each call earns a share of a retry.
#[derive(Debug)]
pub struct RetryBudget {
    /// In retries.
    left: Mutex<f64>,
    share: f64,
    burst: f64,
}

impl RetryBudget {
    /// `share` of the calls may be retries, from 0 to 1; `burst` of them at once.
    pub fn new(share: f64, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { left: Mutex::new(burst), share: share.clamp(0.0, 1.0), burst }
    }

    /// Counts a call.
    pub fn earn(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + self.share).min(self.burst);
    }

    /// Takes a retry, if one is left.
    pub fn spend(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        // Shares such as 0.1 do not add up exactly.
        let enough = *left >= 1.0 - 1e-9;
        if enough {
            *left = (*left - 1.0).max(0.0);
        }
        enough
    }
}

impl Default for RetryBudget {
    /// A tenth of the calls, ten at once.
    fn default() -> Self {
        Self::new(0.1, 10)
    }
}
