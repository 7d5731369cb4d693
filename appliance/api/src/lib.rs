//! HTTPS: OpenAI-compatible chat, DICOMweb, operations; identity and refusals.
