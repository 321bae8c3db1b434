import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/**
 * PUTs a body of SIZE bytes, a comment and one sample, to URL with the HTTP client of the JDK.
 *
 * <p>It offers HTTP/2 first: each request carries Upgrade: h2c. Prints version and status of two.
 */
class Put {
  public static void main(String[] arguments) throws Exception {
    String sample = "\njdk_client 1\n";
    String body = "#".repeat(Integer.parseInt(arguments[1]) - sample.length()) + sample;
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2).build();
    HttpRequest put =
        HttpRequest.newBuilder(URI.create(arguments[0]))
            .timeout(Duration.ofSeconds(10))
            .PUT(HttpRequest.BodyPublishers.ofString(body))
            .build();
    for (int n = 0; n < 2; n++) {
      HttpResponse<String> answer = client.send(put, HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.version() + " " + answer.statusCode() + answer.body());
    }
  }
}
