"""Three PostgreSQL under Patroni and two servers: a host, a server and the network fail, and nothing is lost."""
