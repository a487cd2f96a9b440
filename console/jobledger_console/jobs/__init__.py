"""Jobs on the pages: the query of a list, live lists and jobs, their timelines, and the verbs."""
