import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ReadableByteChannel;
import java.nio.channels.SocketChannel;
import java.nio.channels.WritableByteChannel;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;

// What an application does with the cache, through the driver's ways to send a statement.
class Checks {
  static int failed = 0;

  final String way;
  final String key;
  final Connection connection;

  Checks(String way, Connection connection) {
    this.way = way;
    this.key = "jdbc:" + way + ":";
    this.connection = connection;
  }

  void check(String title, boolean isRight) {
    if (!isRight) ++failed;
    System.out.println((isRight ? "ok" : "not ok") + " - JDBC: " + title + " (" + way + ")");
  }

  PreparedStatement bound(String sql, Object... parameters) throws SQLException {
    PreparedStatement statement = connection.prepareStatement(sql);
    for (int i = 0; i < parameters.length; ++i) {
      Object parameter = parameters[i];
      if (parameter instanceof byte[] bytes) statement.setBytes(i + 1, bytes);
      else if (parameter instanceof String[] texts) statement.setArray(i + 1, connection.createArrayOf("text", texts));
      else if (parameter instanceof String text) statement.setString(i + 1, text);
      else if (parameter instanceof Long number) statement.setLong(i + 1, number);
      else statement.setObject(i + 1, parameter);
    }
    return statement;
  }

  // The first column of the first row.
  Object value(String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = bound(sql, parameters); ResultSet rows = statement.executeQuery()) {
      rows.next();
      Object value = rows.getObject(1);
      return value instanceof PGobject object && !(value instanceof PGInterval) ? object.getValue() : value;
    }
  }

  String sqlstate(String sql, Object... parameters) {
    try {
      value(sql, parameters);
    } catch (SQLException error) {
      return error.getSQLState();
    }
    return null;
  }

  void run() throws SQLException {
    byte[] everyByte = new byte[256];
    for (int i = 0; i < 256; ++i) everyByte[i] = (byte) i;

    PGobject json = new PGobject();
    json.setType("jsonb");
    json.setValue("{\"name\": \"Zoë\"}");
    value("SELECT cache_set(?, ?, ?::interval)", key + "json", json, "15 minutes");
    check("json, as a PGobject", json.getValue().equals(value("SELECT cache_get(?)", key + "json")));
    value("SELECT cache_set(?, ?::jsonb)", key + "json", "[1, \"two\"]");
    check("json, as a string with a cast", "[1, \"two\"]".equals(value("SELECT cache_get(?)", key + "json")));
    value("SELECT cache_set_text(?, ?)", key + "text", "grüße, 'quoted' \\ \n");
    check("text", "grüße, 'quoted' \\ \n".equals(value("SELECT cache_get_text(?)", key + "text")));
    // The driver's simple mode has no way to send bytes.
    if (way.equals("simple"))
      value("SELECT cache_set_bytes(?, decode(?, 'hex'))", key + "bytes", HexFormat.of().formatHex(everyByte));
    else
      value("SELECT cache_set_bytes(?, ?)", key + "bytes", everyByte);
    check("bytes, all values", Arrays.equals(everyByte, (byte[]) value("SELECT cache_get_bytes(?)", key + "bytes")));
    check("null on a miss", value("SELECT cache_get(?)", key + "none") == null);

    value("SELECT cache_set_text(?, ?, ?::interval)", key + "ttl", "x", "90 seconds");
    check("ttl as a string with a cast", ((PGInterval) value("SELECT cache_ttl(?)", key + "ttl")).getMinutes() == 1);
    value("SELECT cache_set_text(?, ?, ttl => ?)", key + "ttl", "x", new PGInterval("3 hours"));
    check("ttl as a PGInterval", ((PGInterval) value("SELECT cache_ttl(?)", key + "ttl")).getHours() >= 2);

    value("SELECT cache_set_many(jsonb_build_object(?::text, 1, ?::text, 2), ?::interval)", key + "a", key + "b", "1 minute");
    List<String> hits = new ArrayList<>();
    String[] keys = {key + "a", key + "none", key + "b"};
    try (PreparedStatement statement = bound("SELECT key, value FROM cache_get_many(?)", (Object) keys);
        ResultSet rows = statement.executeQuery()) {
      while (rows.next()) hits.add(rows.getString("key") + "=" + rows.getString("value"));
    }
    check("many, by an array", hits.equals(List.of(key + "a=1", key + "b=2")));
    check("many texts, by two arrays",
        Long.valueOf(2).equals(value("SELECT cache_set_many_text(?, ?)", keys(key + "c", key + "d"), keys("x", "y"))));

    value("SELECT cache_delete(?)", key + "counter");
    value("SELECT cache_incr(?)", key + "counter");
    check("incr", Long.valueOf((1L << 62) + 1).equals(
        value("SELECT cache_incr(?, ?, ttl => ?::interval)", key + "counter", 1L << 62, "1 day")));

    long version = (Long) value("SELECT version FROM cache_entry(?)", key + "json");
    String again = "SELECT cache_set(?, ?::jsonb, if_version => ?)";
    check("if_version, 64 bits", version > 1L << 32 && (Boolean) value(again, key + "json", "1", version));
    check("if_version, out of date", !(Boolean) value(again, key + "json", "2", version));

    value("SELECT rate_limit_reset(?)", key + "limit");
    String limit = "SELECT allowed FROM rate_limit(?, ?, ?::interval, block => ?)";
    check("a rate limit", (Boolean) value(limit, key + "limit", 1, "1 hour", new PGInterval("90 minutes")));
    check("its denial", !(Boolean) value(limit, key + "limit", 1, "1 hour", new PGInterval("90 minutes")));
    long wait = (Long) value("SELECT retry_after_ms FROM rate_limit_peek(?, ?, ?::interval)", key + "limit", 1L << 40, "1 hour");
    check("rate_limit_peek", wait > 5_000_000 && wait <= 5_400_000);
    check("rate_limit_allowed", !(Boolean) value("SELECT rate_limit_allowed(?, ?, ?::interval)", key + "limit", 1L << 40, "1 s"));
    check("its reset", Long.valueOf(1).equals(value("SELECT rate_limit_reset(?)", key + "limit")));

    check("no key: 22004", "22004".equals(sqlstate("SELECT cache_set(NULL, ?::jsonb)", "1")));
    check("empty key: 22023", "22023".equals(sqlstate("SELECT cache_get(?)", "")));
    check("another kind: 42804", "42804".equals(sqlstate("SELECT cache_get(?)", key + "bytes")));
    check("overflow: 22003", "22003".equals(sqlstate("SELECT cache_incr(?, ?)", key + "counter", 1L << 62)));
    if (!way.equals("simple"))
      check("a string for json without a cast: 42883", "42883".equals(sqlstate("SELECT cache_set(?, ?)", key + "json", "1")));
  }

  static String[] keys(String... keys) { return keys; }

  static String environment(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }

  static Connection connect(String host, String port, String... options) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", environment("PGUSER", System.getProperty("user.name")));
    if (System.getenv("PGPASSWORD") != null) properties.setProperty("password", System.getenv("PGPASSWORD"));
    for (int i = 0; i < options.length; i += 2) properties.setProperty(options[i], options[i + 1]);
    return DriverManager.getConnection(
        "jdbc:postgresql://" + host + ":" + port + "/" + environment("PGDATABASE", "postgres"), properties);
  }

  // The driver speaks TCP only: a port that leads to the socket.
  static int portTo(UnixDomainSocketAddress address) throws Exception {
    ServerSocket listener = new ServerSocket(0, 10, InetAddress.getLoopbackAddress());
    inBackground(() -> {
      while (true) {
        Socket client = listener.accept();
        client.setTcpNoDelay(true);
        SocketChannel server = SocketChannel.open(address);
        inBackground(() -> copy(Channels.newChannel(client.getInputStream()), server));
        inBackground(() -> copy(server, Channels.newChannel(client.getOutputStream())));
      }
    });
    return listener.getLocalPort();
  }

  interface Task {
    void run() throws Exception;
  }

  static void inBackground(Task task) {
    Thread thread = new Thread(() -> {
      try {
        task.run();
      } catch (Exception ended) {
        // The connection was closed.
      }
    });
    thread.setDaemon(true);
    thread.start();
  }

  static void copy(ReadableByteChannel from, WritableByteChannel to) throws Exception {
    ByteBuffer buffer = ByteBuffer.allocate(8192);
    try (from; to) {
      while (from.read(buffer.clear()) >= 0) {
        buffer.flip();
        while (buffer.hasRemaining()) to.write(buffer);
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    String host = environment("PGHOST", "localhost");
    String port = environment("PGPORT", "5432");
    if (host.startsWith("/")) {
      port = String.valueOf(portTo(UnixDomainSocketAddress.of(host + "/.s.PGSQL." + port)));
      host = "127.0.0.1";
    }
    try (Connection connection = connect(host, port)) {
      connection.createStatement().execute("SET client_min_messages = warning");
      connection.createStatement().execute("CREATE EXTENSION IF NOT EXISTS pgcache");
    }
    try (Connection connection = connect(host, port, "preferQueryMode", "simple")) {
      new Checks("simple", connection).run();
    }
    try (Connection connection = connect(host, port, "prepareThreshold", "0")) {
      new Checks("parameters", connection).run();
    }
    // From the first execution on, with results in the binary format.
    try (Connection connection = connect(host, port, "prepareThreshold", "-1")) {
      new Checks("prepared", connection).run();
      connection.createStatement().execute("SELECT cache_delete_matching('jdbc:%')");
    }
    System.exit(failed == 0 ? 0 : 1);
  }
}
