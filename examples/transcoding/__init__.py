"""Transcoding and transcription: an uploaded video goes through nine weighted tasks of a DAG, which an engine runs."""
