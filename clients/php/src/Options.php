<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\InvalidOption;

/**
 * How to talk to a relay. Each option has a default that is safe.
 */
final class Options
{
    /** What the client says of itself by its scheme, and what the protocol needs. */
    private const RESERVED = [
        'host', 'upgrade', 'connection', 'client-type', 'content-length', 'transfer-encoding',
        'sec-websocket-key', 'sec-websocket-version', 'sec-websocket-extensions', 'sec-websocket-protocol',
    ];

    /**
     * @param ?string $ident the name under which this client is addressed; null is none
     * @param ?float $connectTimeout seconds for a connection, from TCP to `ready`. Resolving the name
     *     of a host is the system's business and not bounded by it. Null is 5, in quiet mode 0.5.
     * @param ?float $timeout seconds for a call: to send a message, however long, and to be answered.
     *     Null is 5, in quiet mode 1.
     * @param array<string, string> $headers more lines for the handshake, which scripts of the relay see
     * @param ?string $cafile a PEM file of certificates to trust, in place of those of the system
     * @param ?string $capath a directory of the same, hashed by `openssl rehash`
     * @param ?string $peerName the name the certificate has to be for, where that is not the URL's host
     * @param bool $verify false trusts whoever answers: never outside of an experiment
     * @param int $messageBytesMax the longest message that is sent; limits.message_bytes_max of the
     *     relay, which would close the connection for a longer one
     * @param ?string $localCert a PEM file with the certificate to show, for a relay with tls.client_ca;
     *     its key in the same file, or in $localPk
     * @param ?string $localPk a PEM file with the private key of that certificate
     *
     * @throws InvalidOption
     */
    public function __construct(
        public readonly ?string $ident = null,
        public readonly ?float $connectTimeout = null,
        public readonly ?float $timeout = null,
        public readonly array $headers = [],
        public readonly ?string $cafile = null,
        public readonly ?string $capath = null,
        public readonly ?string $peerName = null,
        public readonly bool $verify = true,
        public readonly int $messageBytesMax = 1_048_576,
        public readonly ?string $localCert = null,
        public readonly ?string $localPk = null,
    ) {
        foreach (['connectTimeout' => $connectTimeout, 'timeout' => $timeout] as $name => $seconds) {
            if ($seconds !== null && !($seconds > 0.0)) {
                throw new InvalidOption("$name is a number of seconds above 0, not $seconds");
            }
        }
        if ($messageBytesMax < 1) {
            throw new InvalidOption("messageBytesMax is at least 1, not $messageBytesMax");
        }
        if ($ident !== null && ($ident !== trim($ident) || preg_match('/\A[^\x00-\x1f\x7f]+\z/', $ident) !== 1)) {
            throw new InvalidOption('ident is a text without control characters and without blanks around it');
        }
        // A ready-made text from elsewhere must not add lines to the handshake.
        foreach ($headers as $name => $value) {
            if (preg_match('/\A[A-Za-z0-9!#$%&\'*+.^_`|~-]+\z/', (string) $name) !== 1) {
                throw new InvalidOption("\"$name\" is no name of a header");
            }
            if (!is_string($value) || preg_match('/[\x00-\x08\x0a-\x1f\x7f]/', $value) === 1) {
                throw new InvalidOption("the header $name is a text without control characters");
            }
            $name = strtolower((string) $name);
            if (in_array($name, self::RESERVED, true) || ($name === 'ident' && $ident !== null)) {
                throw new InvalidOption("the header $name is set by the client itself");
            }
        }
    }

    /**
     * The same, with these timeouts where none are given.
     */
    public function withTimeouts(float $connectTimeout, float $timeout): self
    {
        return new self(...[
            'connectTimeout' => $this->connectTimeout ?? $connectTimeout,
            'timeout' => $this->timeout ?? $timeout,
        ] + get_object_vars($this));
    }

    /**
     * The lines for the handshake, each with its end.
     */
    public function headerLines(): string
    {
        $lines = $this->ident === null ? '' : "Ident: $this->ident\r\n";
        foreach ($this->headers as $name => $value) {
            $lines .= "$name: $value\r\n";
        }
        return $lines;
    }

    /**
     * The `ssl` options of a stream for this host.
     *
     * @return array<string, mixed>
     */
    public function tls(string $host): array
    {
        $options = [
            'crypto_method' => STREAM_CRYPTO_METHOD_TLSv1_2_CLIENT | STREAM_CRYPTO_METHOD_TLSv1_3_CLIENT,
            'verify_peer' => $this->verify,
            'verify_peer_name' => $this->verify,
            'allow_self_signed' => !$this->verify,
            'disable_compression' => true,
            'capture_peer_cert' => true,
            'peer_name' => $this->peerName ?? $host,
            // A server name is a name (RFC 6066, section 3); some servers refuse an address there.
            'SNI_enabled' => filter_var($this->peerName ?? $host, FILTER_VALIDATE_IP) === false,
        ];
        return $options + array_filter([
            'cafile' => $this->cafile,
            'capath' => $this->capath,
            'local_cert' => $this->localCert,
            'local_pk' => $this->localPk,
        ]);
    }
}
