<?php

declare(strict_types=1);

namespace Relay;

/**
 * What a script says to pages and other scripts. `Client` throws when something is wrong,
 * `QuietClient` returns false; both return true when the relay has taken the message, which means
 * received and queued for a decision, not delivered.
 *
 * A message that is a text, in feedback() and broadcast(), becomes the field `message`; it may be
 * empty. An empty uuid or ident is an InvalidMessage, for it can be nobody's.
 */
interface Sender
{
    /**
     * Any message: fields of an object, among them `opcode`; or the JSON of an object, which is sent
     * byte for byte.
     *
     * @param array<string, mixed>|string $message
     */
    public function send(array|string $message): bool;

    /**
     * To the one page that is registered under this uuid.
     *
     * @param array<string, mixed>|string $message
     */
    public function feedback(string $uuid, array|string $message): bool;

    /**
     * To the one backend that has this name (option `ident`).
     *
     * @param array<string, mixed>|string $message
     */
    public function feedbackIdent(string $ident, array|string $message): bool;

    /**
     * To all registered pages.
     *
     * @param array<string, mixed>|string $message
     */
    public function broadcast(array|string $message): bool;

    /**
     * To the one page with this uuid: how far the work is. The page gets
     * `{"opcode":"feedback","uuid":...,"percent":0 to 100,"text":...}` and what is in $more.
     *
     * @param int|float $percent what is below 0 counts as 0, what is above 100 as 100
     * @param array<string, mixed> $more
     */
    public function progress(string $uuid, int|float $percent, string $text = '', array $more = []): bool;

    /**
     * Goodbye: waits until the relay has decided everything that was sent, and ends the connection.
     * A later call makes a new one.
     */
    public function quit(): bool;
}
