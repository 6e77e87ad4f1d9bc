package costledger.bench;

import java.nio.file.Path;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.avro.Schema;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams at its defaults: totals by user, hour, service and operation in RocksDB, cached and with a changelog.
 *
 * <p>{@code java costledger.bench.TotalsApp BOOTSTRAP TOPIC APPLICATION_ID COMMIT_MS STATE_DIR SCHEMA} runs until
 * SIGTERM. The topic is keyed by user, so nothing is repartitioned.
 */
public final class TotalsApp {
    static final String STORE = "totals";

    private TotalsApp() {}

    public static void main(String[] arguments) throws Exception {
        Schema schema = new Schema.Parser().parse(Path.of(arguments[5]).toFile());
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[2]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);

        CountDownLatch failed = new CountDownLatch(1);
        try (KafkaStreams streams = new KafkaStreams(build(arguments[1], schema).build(), settings)) {
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                failed.countDown();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
            streams.start();
            failed.await();
        }
        System.exit(1);
    }

    private static StreamsBuilder build(String topic, Schema schema) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(STORE), Serdes.String(), Serdes.Long())
                .withCachingEnabled());
        builder.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(() -> new AddUp(schema), STORE);
        return builder;
    }
}
