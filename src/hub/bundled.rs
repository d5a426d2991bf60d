//! The bundled models.
