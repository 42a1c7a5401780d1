"""Answer a file of questions: read it, keep the answers safe, write them in order. Engines are passed in."""
