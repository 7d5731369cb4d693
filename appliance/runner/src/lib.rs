//! The seam that jobs and the API see: loads models, shares the cores, contains their failures.
