<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\InvalidOption;

/**
 * Where a relay listens, and how to talk to it: `tcp ssl ws wss`.
 */
final class Url
{
    private const PORTS = ['tcp' => null, 'ssl' => null, 'ws' => 80, 'wss' => 443];

    private function __construct(
        public readonly string $scheme,
        /** Without the brackets of an IPv6 address. */
        public readonly string $host,
        public readonly int $port,
        /** Path and query as they are sent; empty if the URL has none. */
        public readonly string $target,
    ) {
    }

    /**
     * @throws InvalidOption
     */
    public static function parse(string $url): self
    {
        $parts = parse_url($url);
        $scheme = strtolower($parts['scheme'] ?? '');
        if ($parts === false || !array_key_exists($scheme, self::PORTS)) {
            throw self::invalid($url, 'it begins with tcp://, ssl://, ws:// or wss://');
        }
        if (isset($parts['user']) || isset($parts['pass']) || isset($parts['fragment'])) {
            throw self::invalid($url, 'it has neither a user nor a fragment');
        }
        $host = trim($parts['host'] ?? '', '[]');
        if (preg_match('/\A(?:[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\z/', $host) !== 1) {
            throw self::invalid($url, 'its host is a name or an address');
        }
        $port = $parts['port'] ?? self::PORTS[$scheme];
        if ($port === null || $port === 0) {
            throw self::invalid($url, "$scheme:// needs a port, as in $scheme://$host:8083");
        }
        $target = $parts['path'] ?? '';
        if (isset($parts['query'])) {
            $target = ($target === '' ? '/' : $target) . '?' . $parts['query'];
        }
        // Whatever else would end the line it stands in.
        if (preg_match('/[\x00-\x20\x7f]/', $url) === 1) {
            throw self::invalid($url, 'it has neither blanks nor control characters');
        }
        return new self($scheme, $host, $port, $target);
    }

    public function hasTls(): bool
    {
        return $this->scheme === 'ssl' || $this->scheme === 'wss';
    }

    public function isWebSocket(): bool
    {
        return $this->scheme === 'ws' || $this->scheme === 'wss';
    }

    /**
     * Host and port, as in a URL.
     */
    public function authority(): string
    {
        $host = str_contains($this->host, ':') ? "[$this->host]" : $this->host;
        return "$host:$this->port";
    }

    /**
     * For messages: without path and query, which may hold secrets.
     */
    public function __toString(): string
    {
        return "$this->scheme://" . $this->authority();
    }

    private static function invalid(string $url, string $rule): InvalidOption
    {
        $shown = preg_replace(['/[^\x21-\x7e]/', '#//[^/@]*@#'], ['?', '//...@'], substr($url, 0, 100));
        return new InvalidOption("\"$shown\" is no URL of a relay: $rule");
    }
}
