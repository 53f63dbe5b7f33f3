<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\InvalidMessage;

/**
 * Messages as PHP has them, and as JSON.
 */
final class Message
{
    /** As deep as the relay lets arrays and objects nest (limits.json_depth_max). */
    private const DEPTH_MAX = 127;

    /**
     * @param array<string, mixed>|string $message the fields of an object, or its JSON
     *
     * @throws InvalidMessage
     */
    public static function encode(array|string $message, int $bytesMax): string
    {
        try {
            if (is_string($message)) {
                // On a raw stream, JSON without its end would swallow the messages behind it.
                if (!json_decode($message, false, self::DEPTH_MAX, JSON_THROW_ON_ERROR) instanceof \stdClass) {
                    throw new InvalidMessage('a message is a JSON object');
                }
                $json = $message;
            } else {
                self::named($message);
                $json = json_encode(
                    (object) $message,
                    JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION,
                    self::DEPTH_MAX,
                );
            }
        } catch (\JsonException $error) {
            throw new InvalidMessage('this cannot be sent as JSON: ' . $error->getMessage(), 0, $error);
        }
        if (strlen($json) > $bytesMax) {
            throw new InvalidMessage(
                sprintf('a message of %d bytes is longer than %d (messageBytesMax)', strlen($json), $bytesMax),
            );
        }
        return $json;
    }

    /**
     * Whole numbers that PHP has no room for come as the text of their digits.
     *
     * @return array<mixed>|null null if this is no JSON, or no object or array
     */
    public static function decode(string $text): ?array
    {
        $value = json_decode($text, true, 512, JSON_BIGINT_AS_STRING);
        return is_array($value) ? $value : null;
    }

    /**
     * @param array<string, mixed> $address the opcode, and whom it is for
     * @param array<string, mixed>|string $message
     *
     * @return array<string, mixed>
     *
     * @throws InvalidMessage
     */
    public static function addressed(array $address, array|string $message): array
    {
        self::named($message);
        // What stands first wins, so no field changes the address.
        return $address + (is_string($message) ? ['message' => $message] : $message);
    }

    /**
     * @param array<string, mixed> $more
     *
     * @return array<string, mixed>
     *
     * @throws InvalidMessage
     */
    public static function progress(int|float $percent, string $text, array $more): array
    {
        if (!is_finite((float) $percent)) {
            throw new InvalidMessage('the percentage is no number');
        }
        self::named($more);
        // 100.00000000000001 comes of honest sums, and a bar cannot show it.
        return ['percent' => max(0, min(100, $percent)), 'text' => $text] + $more;
    }

    /**
     * @param array<mixed>|string $fields
     */
    private static function named(array|string $fields): void
    {
        if (is_array($fields) && $fields !== [] && array_is_list($fields)) {
            throw new InvalidMessage('a message has fields with names; this is a list');
        }
    }
}
