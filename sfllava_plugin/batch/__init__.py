"""Files of questions and answers, and the command; engines are passed in."""
