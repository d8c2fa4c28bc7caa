-- What servers of one root share and nobody else knows, such as what links are signed with. Each is made when it is first asked for.
CREATE TABLE secrets (
  name          TEXT NOT NULL PRIMARY KEY,
  secret        TEXT NOT NULL                -- hexadecimal digits
);
