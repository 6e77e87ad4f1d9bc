package costledger.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Adds the amount (1e-12 USD) of each event, in Avro's single-object encoding, to the total of its key. */
final class AddUp implements Processor<byte[], byte[], Void, Void> {
    private static final long MICROSECONDS_PER_HOUR = 3_600_000_000L;

    private final BinaryMessageDecoder<GenericRecord> decoder;
    private final int user;
    private final int service;
    private final int operation;
    private final int amount;
    private final int occurredAt;
    private KeyValueStore<String, Long> totals;
    private GenericRecord event;

    AddUp(Schema schema) {
        decoder = new BinaryMessageDecoder<>(GenericData.get(), schema);
        user = schema.getField("user_id").pos();
        service = schema.getField("service").pos();
        operation = schema.getField("operation").pos();
        amount = schema.getField("amount").pos();
        occurredAt = schema.getField("occurred_at").pos();
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        totals = context.getStateStore(TotalsApp.STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        try {
            event = decoder.decode(ByteBuffer.wrap(record.value()), event);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        Long value = (Long) event.get(amount);
        if (value == null) {
            return;
        }
        long hour = (Long) event.get(occurredAt) / MICROSECONDS_PER_HOUR;
        String key = event.get(user) + "|" + hour + "|" + event.get(service) + "|" + event.get(operation);
        Long before = totals.get(key);
        totals.put(key, before == null ? value : before + value);
    }
}
